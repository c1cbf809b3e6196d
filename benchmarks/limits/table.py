"""The rows of the bench, each with the figures that are asked of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from benchmarks.limits import scenes
from benchmarks.limits.gateway import FixedWindow, Latency
from benchmarks.limits.scenes import (
    Load,
    Poison,
    Scene,
    Told,
    bucket,
    buckets,
    chance,
    chance_on_bucket,
    concurrency,
    foreign_headers,
    steady,
    window,
    window_headers,
)
from ideogram_async.testing import LeakyBucket, Reply

TRUE_LIMIT = {"refused": 1.5, "used": 90.0}
SLOW = {"refused": 3.0, "used": 90.0}
LONG_WINDOW = {"overall": 4.0, "used": 90.0}
CARRIES_NOTHING = {"refused": 1.5, "used": 82.0}
KEYS = {"refused": 1.0, "used": 95.0}
SHARED = {"refused": 2.0, "least": 60.0}
CHANCE = Load(200)
"""95 queries a second, and fewer by those that are refused."""


def _buckets() -> Iterator[Scene]:
    for rate, burst, latency, load in (
        (20, 20, 0.1, Load(400)),
        (20, 20, 0.02, Load(400)),
        (20, 20, 0.5, Load(400)),
        (20, 1, 0.1, Load(400)),
        (20, 200, 0.1, Load(400)),
        (5, 5, 0.1, Load(100)),
        (1, 10, 0.1, Load(50)),
        (100, 100, 0.1, Load(800)),
    ):
        name = f"bucket {rate}/s, burst {burst}, latency {latency:g} s"
        run = steady(bucket(rate, burst), rate, load, latency=latency)
        yield Scene(name, run, TRUE_LIMIT, Told((rate,)))
    slow: dict[str, Latency] = {"2 s": 2.0, "0.1 to 3.9 s": (0.1, 3.9)}
    for name, round_trip in slow.items():
        run = steady(bucket(20, 20), 20, Load(400, in_flight=100), latency=round_trip)
        yield Scene(f"bucket 20/s, burst 20, latency {name}", run, SLOW, Told((20,)))
    run = steady(bucket(20, 20, retry_after="seconds"), 20, Load(400))
    yield Scene("bucket 20/s, burst 20, Retry-After", run, TRUE_LIMIT, Told((20,)))
    for ids in (60, 200):
        run = steady(lambda _: LeakyBucket(5, 10), 5, Load(ids))
        yield Scene(f"nginx 5/s, burst 10, {ids} ids", run, TRUE_LIMIT, Told((5,)))
    run = steady(bucket(0.1, 1), 0.1, Load(20))
    yield Scene("one query in 10 s", run, {"refused": 2.0, "used": 75.0}, Told((0.1,)))


def _windows() -> Iterator[Scene]:
    for count, seconds, load, goals in (
        (180, 180, Load(200), LONG_WINDOW),
        (200, 10, Load(400), TRUE_LIMIT),
        (50, 10, Load(100), CARRIES_NOTHING),
        (10, 1, Load(200), CARRIES_NOTHING),
    ):
        run = steady(window(count, seconds), count / seconds, load)
        yield Scene(f"window {count} in {seconds} s", run, goals, Told((count / seconds,)))
    run = steady(window(180, 180, retry_after="seconds"), 1, Load(200))
    yield Scene("window 180 in 180 s, Retry-After", run, LONG_WINDOW, Told((1,)))
    run = steady(lambda _: FixedWindow(600, 60), 10, Load(200))
    yield Scene("fixed window 600 in 60 s", run, TRUE_LIMIT, Told((10,)))


def _headers() -> Iterator[Scene]:
    run = steady(lambda _: FixedWindow(600, 60), 10, Load(200), headers=window_headers)
    yield Scene("fixed window, x-ratelimit headers", run, TRUE_LIMIT, Told((10,)))
    run = steady(bucket(20, 20), 20, Load(400), headers=foreign_headers)
    yield Scene("bucket, headers of another limit", run, TRUE_LIMIT, Told((20,)))
    run = steady(lambda _: None, 1e9, Load(200), headers=foreign_headers)
    yield Scene("no limit, headers of another one", run, {"used": 90.0}, Told())


def _concurrency() -> Iterator[Scene]:
    run = steady(concurrency(3), 10, Load(100), latency=0.3)
    goals = {"refused": 100.0, "used": 70.0}
    yield Scene("concurrency 3, 0.3 s", run, goals, Told(in_flight=3))
    for count in (3, 10):
        rate = count / 0.55
        run = steady(concurrency(count), rate, Load(200), latency=(0.1, 1.0))
        yield Scene(f"concurrency {count}, 0.1 to 1 s", run, goals, Told(in_flight=count))


def _chance() -> Iterator[Scene]:
    for name, limit, used in (
        ("3 %", chance(0.03), 75.0),
        ("10 %", chance(0.1), 75.0),
        ("3 %, Retry-After 0", chance(0.03, retry_after="0"), 90.0),
        ("3 %, Retry-After 5", chance(0.03, retry_after="5"), 50.0),
        ("0.5 %, Retry-After 1", chance(0.005, retry_after="1"), 50.0),
        ("0.5 %, Retry-After 5", chance(0.005, retry_after="5"), 50.0),
    ):
        run = steady(limit, 1e9, CHANCE)
        yield Scene(f"chance {name}", run, {"used": used}, Told())
    run = steady(chance_on_bucket(0.03, 20), 20, Load(400))
    yield Scene("chance 3 % on a bucket of 20", run, {"refused": 100.0, "used": 90.0}, Told((20,)))


def _shared() -> Iterator[Scene]:
    for clients, rate in ((2, 20), (4, 10), (8, 20)):
        run = steady(bucket(rate, rate), rate, Load(400 // clients, clients=clients))
        goals = SHARED if clients == 2 else {"refused": 100.0, "least": 60.0, "used": 0.0}
        yield Scene(f"{clients} clients, bucket {rate}/s", run, goals, Told((rate / clients,)))
    for keys in (3, 5):
        run = steady(bucket(20, 20), 20, Load(400, keys=keys))
        yield Scene(f"{keys} keys, one bucket of 20", run, KEYS, Told((20 / keys,) * keys))
    for limits in ((10,) * 3, (10,) * 5, (2, 10, 40)):
        keys, rate = len(limits), sum(limits)
        run = steady(buckets(*limits), rate, Load(400, keys=keys))
        name = f"{keys} keys, buckets of {', '.join(map(str, sorted(set(limits))))}"
        yield Scene(name, run, KEYS, Told(limits))


def _events() -> Iterator[Scene]:
    idle = {"count": 20.0, "used": 90.0}
    yield Scene("8 h idle, bucket 20/s", scenes.idle, idle, Told((20,)))
    yield Scene("one refusal, then 500 at once", scenes.burst, {"lag": 2.0, "over": 1.0}, Told())
    for seconds in (60, 600):
        yield Scene(f"503 for {seconds} s", scenes.outage(seconds), {"back": 20.0}, Told())
    moving = {"refused": 4.0, "used": 80.0, "back": 90.0}
    yield Scene("bucket 20, 2, 20/s", scenes.moving, moving)
    yield Scene("no limit, until 500/s", scenes.unlimited, {"back": 16.0}, Told())
    for clients, lag in ((1, 2.1), (2, 2.5), (8, 5.2)):
        told = Told((20 / clients,))
        name = f"peers' test, blind, clients: {clients}"
        yield Scene(name, scenes.peers(clients), {"lag": lag, "overall": 100.0}, told)


def _poison() -> Iterator[Scene]:
    sound: Mapping[str, float] = {"lag": 3.0, "lost": 0.0}
    for name, poison in (
        ("20 of 220 ids always 429", Poison(20, 200, Reply(429))),
        ("5 ids 429, Retry-After 60", Poison(5, 200, Reply(429, {"Retry-After": "60"}))),
        ("5 ids 500, Retry-After 300", Poison(5, 200, Reply(500, {"Retry-After": "300"}))),
        ("20 ids 500, handed in first", Poison(20, 50, Reply(500), bad_first=True)),
        ("100 ids 500 beside 200", Poison(100, 200, Reply(500))),
    ):
        yield Scene(name, scenes.poisoned(poison), sound, Told())
    yield Scene("two sick waits beside 20 ids", scenes.sick_waits, sound, Told())
    for share, status in ((0.15, 503), (0.3, 500)):
        run = scenes.models_down(share, Reply(status))
        yield Scene(f"{share:.0%} of models down, {status}", run, sound, Told())


ROWS: tuple[Scene, ...] = (
    *_buckets(),
    *_windows(),
    *_headers(),
    *_concurrency(),
    *_chance(),
    *_shared(),
    *_events(),
    *_poison(),
)

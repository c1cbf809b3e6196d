"""How fast the client asks: told rates, unknown limits, `Retry-After`, and what waits meanwhile."""

from __future__ import annotations

import asyncio
import math
import random
from typing import Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.limits import scenes
from benchmarks.limits.__main__ import measure
from benchmarks.limits.gateway import Gateway as GatewayWithoutHttp
from benchmarks.schedule import pacing
from ideogram_async import FixedInterval, IdeogramClient, RateLimitError
from ideogram_async._limits.found_rate import LOWEST_RATE, FoundRate
from ideogram_async._limits.pool import SessionPool
from ideogram_async.testing import (
    AtRandom,
    Gateway,
    Limit,
    SlidingWindow,
    TokenBucket,
    json_reply,
)
from tests.support.settings import settled

pytestmark = pytest.mark.anyio


async def _drained(gateway: Gateway, ids: list[str], **settings: Any) -> None:
    """Poll ids until all are complete."""
    settings.setdefault("schedule", FixedInterval(2.0))
    async with IdeogramClient(gateway.url, **settings) as client:
        done = [request.request_id async for request in client.as_completed(ids)]
    assert sorted(map(str, done)) == sorted(ids)


async def test_a_bucket_of_20_a_second() -> None:
    """400 ids over a bucket of 20 a second: all done, refused at most 1 % after the first 20 s."""
    async with Gateway(limit=TokenBucket(20, 20)) as gateway:
        ids = [gateway.submit(duration=1 + n % 80) for n in range(400)]
        await _drained(gateway, ids, max_in_flight=50)
        assert pacing.refused(gateway, 20) <= 1.0


async def test_a_told_rate_is_hardly_ever_refused() -> None:
    """`max_rate=20` against 200 in any 10 s: at most 1 query in 1,000 is refused."""
    async with Gateway(limit=SlidingWindow(200, 10)) as gateway:
        ids = [gateway.submit(duration=1 + n % 80) for n in range(200)]
        await _drained(gateway, ids, max_in_flight=50, max_rate=20)
        assert pacing.refused(gateway) <= 0.1


async def test_a_refusal_of_another_process() -> None:
    """A client that is told of it holds a little longer than that one, and paces itself anew."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=0) for _ in range(60)]
        assert len([r async for r in client.retrieve_many(ids)]) == 60
        client.hold(5.0)
        (session,) = client.statistics().sessions
        assert 5.0 < session.held < 6.0
        assert session.rate is not None
        begin = anyio.current_time()
        await client.retrieve(ids[0])
        assert 5.0 < anyio.current_time() - begin < 6.0
        for seconds, which in ((0.0, 0), (math.nan, 0), (math.inf, 0), (1.0, 1)):
            with pytest.raises(ValueError, match=r"seconds|session"):
                client.hold(seconds, session=which)
        with pytest.raises(TypeError, match="seconds is None: a hold without a limit"):
            client.hold(None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


@pytest.mark.parametrize("rate", [3.0, 50.0])
async def test_a_told_rate_is_kept_over_any_span(rate: float) -> None:
    """In any T seconds at most rate · T + 1 queries go out, after idle times as well."""
    async with Gateway(latency=0.0) as gateway:
        async with IdeogramClient(gateway.url, max_rate=rate, max_in_flight=50) as client:
            for pause in (7.3, 0.0, 2.1):
                ids = [gateway.submit(duration=0) for _ in range(40)]
                assert len([r async for r in client.retrieve_many(ids, timeout=None)]) == 40
                await anyio.sleep(pause)
        times = [query.at for query in gateway.queries]
        for first, begin in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= rate * (times[last] - begin) + 1 + 1e-6


@pytest.mark.parametrize(
    ("scenario", "seed"),
    [
        (pacing.nginx, 7),
        (pacing.by_address, 3),  # where a wrong measurement was kept, without a trial
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_limits_of_many_kinds(scenario: pacing.Scenario, seed: int) -> None:
    """Each limit of the pacing benchmark is found, within the figures asked for there."""
    for goal in await scenario(seed):
        assert goal.holds, goal


async def answered_per_second(limit: Limit | None, ids: int, seconds: int) -> list[float]:
    """Poll ids that never end; return the accepted queries per second, second by second."""
    random.seed(7)
    gateway, begun = GatewayWithoutHttp(limit=limit, seed=7), anyio.current_time()
    async with scenes.polling(gateway, scenes.Load(ids), 7):
        await asyncio.sleep(seconds)
    begins = [begun + second for second in range(seconds)]
    return [scenes.span(gateway, begin, begin + 1).rate for begin in begins]


async def test_no_limit_is_made_of_bad_luck() -> None:
    """Refusals that have nothing to do with the rate cost less than 40 % of the throughput."""
    free = sum(await answered_per_second(None, 200, 30))
    assert free > 2000
    assert sum(await answered_per_second(AtRandom(0.03, 7), 200, 30)) >= 0.6 * free


async def test_without_a_limit_the_rate_is_soon_what_is_wanted() -> None:
    """Each id was asked once within 5 s; 1 s later 450 of 500 queries per second are sent again."""
    assert min((await answered_per_second(None, 2000, 9))[5:]) >= 450


async def test_a_limit_that_moves() -> None:
    """A bucket's rate goes from 20 to 60: within 35 s it is used; and back: few are refused."""
    random.seed(7)
    gateway = GatewayWithoutHttp(limit=TokenBucket(20, 20), seed=7)
    async with scenes.polling(gateway, scenes.Load(400), 7):
        for rate, seconds in ((20, 40), (60, 60), (20, 60)):
            gateway.limit = TokenBucket(rate, rate)
            await asyncio.sleep(seconds)
    used = [scenes.span(gateway, at - 1, at + 1).rate >= 0.85 * 60 for at in range(40, 100)]
    assert used.index(True) <= 35
    assert scenes.span(gateway, 120, 160).refused <= 1.5


async def test_a_limit_of_several_keys() -> None:
    """Five keys have one bucket of 20 per second together: it is used, and few are refused."""
    run = scenes.steady(scenes.bucket(20, 20), 20, scenes.Load(400, keys=5), seconds=60)
    figures = await run(7)
    assert figures["refused"] <= 0.5
    assert figures["used"] >= 85


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("7", 7, 9),
        ("0", 0, 3),
        ("nan", 0, 3),  # the fault matrix has more of these
        ("99999999", 300, 335),
        ("date", 19, 25),
    ],
)
async def test_retry_after_in_every_form(value: str, least: float, most: float) -> None:
    """Seconds and dates are honoured, 300 s at most; nonsense is not; no herd follows."""
    async with Gateway(latency=0.1) as gateway:
        told = gateway_date(gateway, 20.5) if value == "date" else value
        ids = [gateway.submit(progress="never") for _ in range(60)]
        async with (
            IdeogramClient(gateway.url, max_in_flight=50, schedule=FixedInterval(3.0)) as client,
            client.as_completed(ids, deadline=None),
        ):
            await anyio.sleep(10)
            gateway.script(json_reply({}, 429, {"Retry-After": told.encode().decode("latin-1")}))
            asked = len(gateway.queries)
            await anyio.sleep(most + 5)
        refusal = next(query for query in gateway.queries[asked:] if query.status == 429)
        after = [q.at for q in gateway.queries if q.at > refusal.answered]
        assert least <= after[0] - refusal.answered <= most
        first_second = sum(at < after[0] + 0.09 for at in after)
        assert first_second == 1, "one probe, not a herd"
        assert sum(at < after[0] + 1 for at in after) <= 50


def gateway_date(gateway: Gateway, seconds: float) -> str:
    """Give the HTTP date that lies so far ahead 10 s from now, on the gateway's clock."""
    from email.utils import formatdate  # noqa: PLC0415 - of this helper alone

    return formatdate(gateway.now() + 10 + seconds, usegmt=True)


async def test_what_was_asked_for_now_goes_out_at_once() -> None:
    """One-shot checks know no gentle start: 200 ids at 50 in flight take 4 round trips or so."""
    async with Gateway(latency=0.1) as gateway:
        ids = [gateway.submit(duration=0) for _ in range(200)]
        async with IdeogramClient(gateway.url, max_in_flight=50) as client:
            assert len([r async for r in client.retrieve_many(ids)]) == 200
        assert gateway.queries[-1].at <= 0.75
        assert gateway.peak_in_flight == 50


async def test_an_unlimited_client_knows_no_gentle_start() -> None:
    """`max_rate=math.inf` sends what the schedule chose at once, too."""
    async with Gateway(latency=0.1) as gateway:
        ids = [gateway.submit(duration=3) for _ in range(300)]
        async with IdeogramClient(
            gateway.url, max_in_flight=50, max_rate=math.inf, schedule=FixedInterval(1.0)
        ) as client:
            assert len([r async for r in client.as_completed(ids, just_submitted=True)]) == 300
        assert gateway.queries[-1].at - gateway.queries[0].at <= 4.5


async def test_a_wait_is_served_first_under_a_rate() -> None:
    """Under a told rate a person's wait takes the next turns, however many ids wait."""
    async with Gateway() as gateway, IdeogramClient(gateway.url, max_rate=10) as client:
        ids = [gateway.submit(progress="never") for _ in range(500)]
        async with client.as_completed(ids):
            await anyio.sleep(5)
            loop = asyncio.get_running_loop()
            begun = loop.time()
            assert (await client.wait(gateway.submit(duration=0))).is_complete
            assert loop.time() - begun <= 0.4


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["send", "accept", "refuse"]),
            st.floats(0, 20),
            st.one_of(st.none(), st.floats(0, 300)),
        ),
        max_size=80,
    ),
    st.booleans(),
)
def test_no_answers_ever_stop_a_throttle(
    events: list[tuple[str, float, float | None]], gentle: bool
) -> None:
    """Whatever is accepted and refused, the rate stays within bounds, and no hold is endless."""
    throttle, now, asked = FoundRate(is_gentle=gentle), 1000.0, [1000.0]
    for kind, seconds, retry_after in events:
        now += seconds
        if kind == "send":
            throttle.wait(10)
            throttle.sent(now, paced=True)
            asked.append(now)
        elif kind == "accept":
            throttle.accepted(asked[-1], now)
        else:
            throttle.refused(asked[-1], retry_after, now)
        assert throttle.rate >= LOWEST_RATE
        assert throttle.held_until <= now + 330
        assert (
            throttle.opens_at(now) <= max(now, throttle.held_until) + 1 / LOWEST_RATE + 1e-6
            or throttle.rate < 1
        )


@pytest.mark.parametrize("told", [None, 10.0])
async def test_a_replay_takes_a_turn_of_the_pace(told: float | None) -> None:
    """A query that goes out twice is two queries for whatever limits them."""
    pool = SessionPool(settled(max_rate=told))
    session = pool.choose(100.0, immediate=False)
    assert session is not None
    pool.sent(session, 100.0, immediate=False)
    is_one_shot = pool.opens_at(100.0, immediate=False)
    for _ in range(10):  # more than may be made up
        pool.replayed(0, 100.0)
    assert pool.opens_at(100.0, immediate=False) > is_one_shot
    assert session.queries == 11


def test_holds_are_spread() -> None:
    """Clients that are told the same Retry-After do not wake at the same moment."""
    ends = set()
    for seed in range(10):
        random.seed(seed)
        throttle = FoundRate(is_gentle=True)
        throttle.refused(0.0, 60.0, 0.0)
        ends.add(throttle.held_until)
    assert len(ends) == 10
    assert all(60 <= end <= 66 for end in ends)


def test_a_probe_that_another_query_overtook() -> None:
    """A query of another id may show that the key is open: the next hold has a probe of its own."""
    session = SessionPool(settled()).sessions[0]
    refusal = RateLimitError("429", status=429)
    session.sent(1.0, immediate=False)
    session.throttled(refusal, 1.0, 1.1, is_known=True)
    session.sent(3.0, immediate=False)
    session.sent_newcomer(3.5)
    session.answered(3.5, 3.6)
    session.answered(3.0, 4.0)
    session.sent(5.0, immediate=False)
    session.throttled(refusal, 5.0, 5.1, is_known=True)
    session.returned()
    assert session.opens_at(60.0, immediate=False) <= 60.0


def test_a_refusal_by_chance_delays_its_id_alone() -> None:
    """Where refusals come by chance, a new id that is told to wait holds no key."""
    session = SessionPool(settled()).sessions[0]
    refusal = RateLimitError("429", status=429, retry_after=60)
    assert isinstance(session.limiter, FoundRate)
    session.limiter.chance.learn()
    session.sent(1.0, immediate=False)
    assert not session.throttled(refusal, 1.0, 1.1, is_known=False)
    session.returned()
    assert session.opens_at(1.1, immediate=False) < 1.2


def test_a_hold_that_a_new_id_caused_ends_as_others_are_accepted() -> None:
    """Three queries that were in flight are accepted: the refusal was the new id's own."""
    session = SessionPool(settled()).sessions[0]
    for _ in range(4):
        session.sent(1.0, immediate=False)
    refusal = RateLimitError("429", status=429, retry_after=60)
    assert session.throttled(refusal, 1.0, 1.1, is_known=False)
    for accepted in range(3):
        assert session.held_until > 6.0, f"{accepted} were accepted"
        session.answered(1.0, 1.2)
    assert session.held_until < 1.5


def test_a_limit_is_not_taken_for_sick_ids() -> None:
    """A bucket of 1 per second refuses some ids twice, and others once: its cuts stay."""
    assert measure("bucket 1/s, burst 10, latency 0.1 s", 116, told=False)["refused"] <= 2


def refused_often(limiter: FoundRate, share: float, seconds: float) -> float:
    """Return how many queries per second go out, of which a share is refused whatever the rate."""
    rng, now, sent = random.Random(1), 1000.0, 0
    until = now + seconds
    while now < until:
        limiter.wait(100)
        now = max(now + 0.005, limiter.opens_at(now))
        limiter.sent(now)
        sent += 1
        if rng.random() < share:
            limiter.refused(now, None, now)
        else:
            limiter.accepted(now, now)
    return sent / seconds


@pytest.mark.parametrize("share", [0.03, 0.1])
def test_refusals_by_chance_are_learned(share: float) -> None:
    """Where refusals do not depend on the rate, it rises to what is wanted, and chance is known."""
    limiter = FoundRate()
    assert refused_often(limiter, share, 240) > 40
    assert limiter.chance.is_known


def test_chance_is_counted_where_the_pace_is_not_used() -> None:
    """Refusals of 10 % at a tenth of the pace are no limit's, and their share is learned."""
    limiter, now = FoundRate(), 1000.0
    limiter.refused(limiter._last_sent, None, now)
    limiter.chance.learn()
    limiter.adopt(1000.0, "found", now)
    alarms = 0
    for query in range(1, 2000):
        now += 0.01
        limiter.sent(now)
        if query % 10:
            limiter.accepted(now, now)
        else:
            alarms += limiter.refused(now, None, now)
    assert alarms <= 3


def test_a_refusal_by_chance_begins_a_new_measurement() -> None:
    """The rate has grown: at the next alarm what was accepted long before does not cut it."""
    limiter, now = FoundRate(), 1000.0
    limiter.chance.learn()

    def send(*, is_accepted: bool) -> None:
        nonlocal now
        limiter.wait(100)
        now = max(now, limiter.opens_at(now))
        limiter.sent(now)
        if is_accepted:
            limiter.accepted(now, now)
        else:
            limiter.refused(now, None, now)

    for query in range(3000):
        send(is_accepted=query % 100 > 0)
    before = limiter.rate
    while not limiter.is_probing:
        send(is_accepted=False)
    send(is_accepted=True)
    assert before > 60
    assert limiter.rate > 0.5 * before


def met(limiters: list[FoundRate], bucket: TokenBucket, seconds: float) -> tuple[int, list[float]]:
    """Return how many queries are accepted, and when others are refused, while all wait for more.

    The times are seconds from the beginning on.
    """
    random.seed(1)
    accepted, refused = 0, []
    while (now := min(max(one.opens_at(0.0), 1000.0) for one in limiters)) < 1000.0 + seconds:
        one = min(limiters, key=lambda one: one.opens_at(0.0))
        one.wait(100)
        one.sent(now)
        if bucket.admit(now, None):
            one.accepted(now, now)
            accepted += 1
        else:
            one.refused(now, None, now)
            refused.append(now - 1000.0)
    return accepted, refused


def test_a_limit_is_no_chance() -> None:
    """A bucket of 20 per second: about that is accepted, few are refused, and no chance is seen."""
    limiter = FoundRate()
    accepted, refused = met([limiter], TokenBucket(20, 20), 300)
    assert accepted >= 0.95 * 300 * 20
    assert len(refused) <= 0.01 * accepted
    assert not limiter.chance.is_known


def through_a_hold(
    limiter: FoundRate,
    now: float,
    *,
    queries: int = 200,
    in_flight: int = 0,
    retry_after: float | None = None,
    held: float = 0.0,
) -> float:
    """Let queries be accepted, one be refused, and one after the hold; return when it is sent.

    Those in flight are refused, too. The session may be held for longer than the limiter.
    """
    for _ in range(queries):
        limiter.wait(100)
        now = max(now, limiter.opens_at(now))
        limiter.sent(now)
        limiter.accepted(now, now)
    limiter.sent(now)
    limiter.refused(now, retry_after, now)
    for _ in range(in_flight):
        limiter.refused(now - 0.01, retry_after, now)
    now = limiter.opens_at(now) + held
    limiter.wait(100)
    limiter.sent(now)
    limiter.accepted(now, now)
    return now


@pytest.mark.parametrize("in_flight", [0, 1])
def test_lone_refusals_at_an_accepted_rate_are_chance(in_flight: int) -> None:
    """They show chance after a trial, too; where a query in flight is refused, it is a limit."""
    limiter, now = FoundRate(), 1000.0
    for _ in range(8):
        now = through_a_hold(limiter, now, queries=130, in_flight=in_flight)
    assert limiter.chance.is_known == (not in_flight)


def test_a_long_hold_does_not_sink_the_rate() -> None:
    """Holds by `Retry-After` are no time in which the limit was tried: the rate stays."""
    limiter, now = FoundRate(), 1000.0
    for _ in range(5):
        now = through_a_hold(limiter, now, retry_after=60.0)
    assert limiter.rate > 10


def test_the_jitter_of_a_hold_belongs_to_its_pause() -> None:
    """A query that is sent as soon as the hold is over has waited for the limit, no longer."""
    limiter = FoundRate()
    limiter.sent(1000.0)
    limiter.refused(1000.0, None, 1000.0)
    asked = limiter.opens_at(1000.0)
    limiter.sent(asked)
    limiter.refused(asked, None, asked)
    assert limiter._untried == 0


def test_a_slow_answer_after_a_hold_does_not_sink_the_rate() -> None:
    """What was accepted in 10 s is the rate, though the query after the hold is answered late."""
    limiter = FoundRate()
    for query in range(200):
        limiter.wait(100)
        limiter.sent(1000.0 + query / 20)
        limiter.accepted(1000.0 + query / 20, 1000.0 + query / 20)
        if not query:
            limiter.refused(1000.0, None, 1000.0)
            limiter.accepted(1000.0, 1000.0)
    limiter.refused(1010.0, None, 1010.0)
    asked = limiter.opens_at(1010.0)
    limiter.sent(asked)
    limiter.accepted(asked, asked + 4.0)
    assert limiter.rate >= 16


def test_a_hold_of_the_session_does_not_sink_the_rate() -> None:
    """A new id's `Retry-After` holds the session, not the limiter: no limit was tried meanwhile."""
    limiter, now = FoundRate(), 1000.0
    for held in (0.0, 60.0, 60.0):
        now = through_a_hold(limiter, now, held=held)
    assert limiter.rate > 10


@pytest.mark.parametrize("clients", [2, 4])
def test_clients_at_one_limit_are_no_chance(clients: int) -> None:
    """Clients that know nothing of each other slow down, and refuse each other few queries."""
    accepted, refused = met([FoundRate() for _ in range(clients)], TokenBucket(10, 10), 600)
    assert accepted >= 0.9 * 600 * 10
    assert sum(seconds > 60 for seconds in refused) <= 0.03 * accepted


def test_a_long_outage_is_seen_to_end_within_20_s() -> None:
    """However often the query after a hold is refused, the next one goes out within 20 s."""
    limiter, now = FoundRate(), 1000.0
    for _ in range(100):
        limiter.sent(now)
        limiter.refused(now, None, now)
        assert limiter.opens_at(now) < now + 20
        now = limiter.opens_at(now)


def test_a_window_with_retry_after() -> None:
    """Of a window of 180 in 180 s that says when it opens, 4 % at most is refused."""
    assert measure("window 180 in 180 s, Retry-After", 1, told=False)["overall"] <= 4


async def test_two_clients_of_one_limit_become_equal() -> None:
    """Of two clients on a bucket of 20 per second the lesser sends at least 60 % of the other's."""
    two = scenes.Load(200, clients=2)
    figures = await scenes.steady(scenes.bucket(20, 20), 20, two, seconds=100)(1)
    assert figures["least"] >= 60
    assert figures["refused"] <= 2


async def test_chance_is_learned_in_front_of_a_limit() -> None:
    """A bucket of 20 per second behind refusals by chance: the limit that shows hides no chance."""
    limit = scenes.chance_on_bucket(0.03, 20)
    figures = await scenes.steady(limit, 20, scenes.Load(400), seconds=100)(3)
    assert figures["used"] >= 85

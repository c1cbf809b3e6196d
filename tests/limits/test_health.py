"""A gateway that fails, keys that are refused, and what goes on meanwhile."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import anyio
import pytest

from ideogram_async import (
    AuthenticationError,
    Credential,
    FixedInterval,
    IdeogramClient,
    RateLimitError,
)
from ideogram_async._limits.circuit_breaker import (
    FIRST_OPEN_SECONDS,
    LONGEST_OPEN_SECONDS,
    NEWCOMER_PROBES,
    NEWCOMER_SECONDS,
    CircuitBreaker,
)
from ideogram_async._limits.session import FIRST_ROOM
from ideogram_async._limits.shared_limit import REFUSALS_ALONE, SharedLimitDetector
from ideogram_async.testing import Gateway, Query, Reply, TokenBucket

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def _outage(gateway: Gateway, kind: str) -> AsyncIterator[None]:
    """Be gone: nothing listens, or everything answers 502."""
    if kind == "refused":
        async with gateway.down():
            yield
    else:
        gateway.on_query = lambda _: Reply(502)
        yield
        gateway.on_query = None


@pytest.mark.parametrize("kind", ["refused", "502"])
async def test_five_minutes_without_a_gateway(kind: str) -> None:
    """200 ids outlive an outage of 5 minutes: few queries meanwhile, and no herd afterwards."""
    async with Gateway(latency=0.05) as gateway:
        client = IdeogramClient(gateway.url, schedule=FixedInterval(2.0))
        ids = [gateway.submit(duration=20 + n) for n in range(200)]
        done: dict[str, float] = {}
        loop = asyncio.get_running_loop()

        async def poll() -> None:
            async for request in client.as_completed(ids):
                done[str(request.request_id)] = loop.time()

        async with client:
            polling = asyncio.create_task(poll())
            await anyio.sleep(10)
            before = client.statistics().queries
            async with _outage(gateway, kind):
                await anyio.sleep(300)
                assert client.statistics().sessions[0].state == "broken"
            assert client.statistics().queries - before <= 600
            back, seen = loop.time(), len(gateway.queries)
            await polling
    assert sorted(done) == sorted(ids)
    assert max(done.values()) - back <= LONGEST_OPEN_SECONDS * 1.1 + 15
    times = [query.at for query in gateway.queries[seen:]]
    assert max(sum(t <= at < t + 0.25 for at in times) for t in times) <= 120


async def test_ten_minutes_of_errors_cost_no_id() -> None:
    """However long a gateway fails, no id fails before its own deadline."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(2.0), deadline=3600) as client,
    ):
        rng = random.Random(1)
        gateway.on_query = lambda query: (
            rng.choice([Reply(502), Reply(404), Reply(200, body=b"?")])
            if 30 < query.at < 630
            else None
        )
        ids = [gateway.submit(duration=60 + n) for n in range(15)]
        assert len([r async for r in client.as_completed(ids)]) == 15


async def test_three_keys_one_bad_one_throttled() -> None:
    """With a bad key and a throttled one all ids are done, at most 30 queries wasted on the bad."""
    credentials = [Credential(token=token) for token in ("good", "bad", "slow")]
    buckets = {"slow": TokenBucket(2, 2)}

    def throttle(query: Query) -> Reply | None:
        bucket = buckets.get(str(query.key))
        refused = bucket is not None and not bucket.admit(query.at, query.key)
        return Reply(429) if refused else None

    async with (
        Gateway(tokens=["good", "slow"]) as gateway,
        IdeogramClient(
            gateway.url, credentials=credentials, max_in_flight=50, schedule=FixedInterval(2.0)
        ) as client,
    ):
        gateway.on_query = throttle
        ids = [gateway.submit(duration=1 + n % 60) for n in range(100)]
        assert len([r async for r in client.as_completed(ids)]) == 100
        asked = Counter(str(query.key) for query in gateway.queries)
        refused = Counter(str(query.key) for query in gateway.queries if query.status == 429)
        assert asked["bad"] <= 30
        assert asked["good"] > asked["slow"] > 20
        assert refused["slow"] <= 0.25 * asked["slow"]  # the first of new ids are forgiven
        good, bad, slow = client.statistics().sessions
        assert (good.state, bad.state) == ("open", "refused")
        assert (good.rate, bad.reason) == (None, "401: 无效的令牌")
        assert slow.rate is not None
        assert slow.rate < 5
        assert "good" not in repr(client.statistics())


async def test_one_bad_key_alone() -> None:
    """A bad key alone ends the run in under 5 s, with at most 40 queries, every id listed."""
    async with (
        Gateway(tokens=["good"]) as gateway,
        IdeogramClient(gateway.url, token="bad", max_in_flight=100) as client,
    ):
        ids = [gateway.submit() for _ in range(1000)]
        with pytest.raises(AuthenticationError) as caught:
            async for _ in client.as_completed(ids):
                pass
        assert asyncio.get_running_loop().time() < 5
        assert len(gateway.queries) <= 40
        assert set(caught.value.pending) == set(ids)


async def test_a_refused_key_comes_back() -> None:
    """A key out of use is tried by one query every 60 s, and used again once it is accepted."""
    credentials = [Credential(token="a"), Credential(token="b")]
    async with (
        Gateway(tokens=["a", "b"]) as gateway,
        IdeogramClient(gateway.url, credentials=credentials, schedule=FixedInterval(1.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(4)]
        async with client.as_completed(ids):
            await anyio.sleep(10)
            gateway.revoke("b")
            await anyio.sleep(195)
            tried = [q.at for q in gateway.queries if q.key == "b" and q.status == 401]
            later = [at for at in tried if at > tried[0] + 5]
            assert len(later) == 3
            assert all(59 <= b - a <= 63 for a, b in pairwise(later))
            gateway.accept("b")
            await anyio.sleep(70)
            last = [q.key for q in gateway.queries[-40:]]
            assert last.count("b") >= 10


async def test_a_key_that_was_refused_a_while_ago_is_tried_before_a_run_ends() -> None:
    """One of two keys is refused for 10 s, the other one 20 s later: the run goes on."""
    keys = ["key-one", "key-two"]
    async with (
        Gateway(tokens=keys) as gateway,
        IdeogramClient(
            gateway.url,
            credentials=[Credential(token=key) for key in keys],
            schedule=FixedInterval(1.0),
        ) as client,
    ):
        ids = [gateway.submit(duration=60) for _ in range(20)]

        async def poll() -> list[str]:
            return [request.request_id async for request in client.as_completed(ids)]

        polling = asyncio.create_task(poll())
        await anyio.sleep(10)
        gateway.revoke(keys[0])
        await anyio.sleep(10)
        assert client.statistics().sessions[0].state == "refused"
        gateway.accept(keys[0])
        await anyio.sleep(20)
        gateway.revoke(keys[1])
        assert sorted(await polling) == sorted(ids)


async def test_the_clock_of_an_id_starts_when_the_gateway_can_be_reached() -> None:
    """Tries that made no connection are no queries: the id has its whole deadline after them."""
    async with Gateway() as gateway, IdeogramClient(gateway.url, deadline=60) as client:
        request_id = gateway.submit(duration=80)
        async with gateway.down():
            waiting = asyncio.create_task(client.wait(request_id))
            await anyio.sleep(20)
        assert (await waiting).is_complete


async def first_ended(client: IdeogramClient, ids: list[str], count: int) -> list[str]:
    """Poll ids until so many have ended, and return these."""
    ended: list[str] = []
    async with client.as_completed(ids) as run:
        async for request in run:
            ended.append(request.request_id)
            if len(ended) == count:
                break
    return ended


async def test_an_id_that_comes_due_later_is_a_probe_of_its_own() -> None:
    """While the next probe is far off, an id that was just submitted is asked soon after."""
    async with Gateway(latency=0.1) as gateway, IdeogramClient(gateway.url) as client:
        gateway.on_query = lambda _: Reply(500)
        sick = asyncio.create_task(client.wait(gateway.submit()))
        await anyio.sleep(100)
        assert client.statistics().sessions[0].next_try > 10
        gateway.on_query = None
        with anyio.fail_after(10):
            await client.wait(gateway.submit(duration=1), just_submitted=True)
        sick.cancel()


@pytest.mark.parametrize("seconds", [1.0, 4.0])
async def test_known_ids_that_turn_sick_do_not_slow_the_others(seconds: float) -> None:
    """Half of the ids are refused from some moment on: the others are asked as often as before."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(seconds)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(40)]
        sick = set(ids[::2])
        async with client.as_completed(ids, deadline=None):
            await anyio.sleep(10)
            gateway.on_query = lambda query: Reply(429) if query.request_id in sick else None
            await anyio.sleep(40)
            seen = [one for one in gateway.queries if one.at >= 30.0 and one.status == 200]
    assert len(seen) >= 0.9 * 20 * 20 / (seconds + 0.1)


@pytest.mark.parametrize("status", [429, 502])
async def test_few_queries_go_out_at_once_to_a_gateway_that_is_back(status: int) -> None:
    """Many ids are due by then: in the first round trip they have the room of a new key."""
    async with (
        Gateway(latency=0.5) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(200)]
        async with client.as_completed(ids, deadline=None):
            await anyio.sleep(10)
            gateway.on_query = lambda _: Reply(status)
            await anyio.sleep(60)
            gateway.on_query = None
            while gateway.queries[-1].at < 70.0:  # noqa: ASYNC110 - no event of it
                await anyio.sleep(1)
            await anyio.sleep(1)
    times = [query.at for query in gateway.queries if query.at > 70.0]
    back = next(query.answered for query in gateway.queries if query.at > 70.0)
    assert sum(back <= at < back + 0.45 for at in times) <= FIRST_ROOM + 1


async def test_new_ids_are_asked_beside_a_hold_that_new_ids_caused() -> None:
    """90 sick ids beside 10 that are done: no id is ever known, yet no limit is made of that."""
    async with Gateway(latency=0.1) as gateway, IdeogramClient(gateway.url) as client:
        sick = [gateway.submit() for _ in range(90)]
        sound = [gateway.submit(duration=0) for _ in range(10)]
        gateway.on_query = lambda query: Reply(429) if query.request_id in sick else None
        random.seed(1)
        with anyio.fail_after(120):
            ended = await first_ended(client, [*sick, *sound], len(sound))
    assert sorted(ended) == sorted(sound)


async def test_a_hold_that_outlasts_a_call_in_line_ends_it_at_once() -> None:
    """A call for one answer, in line for the only place, hears of the hold as soon as it begins."""
    async with (
        Gateway(latency=1.0) as gateway,
        IdeogramClient(gateway.url, max_in_flight=1, schedule=FixedInterval(0.1)) as client,
    ):
        polled, other = gateway.submit(progress="never"), gateway.submit()
        polling = asyncio.create_task(client.wait(polled))
        await anyio.sleep(1.5)
        gateway.on_query = lambda _: Reply(429, {"Retry-After": "60"})
        await anyio.sleep(1.0)
        with anyio.fail_after(3), pytest.raises(RateLimitError, match="asked to wait"):
            await client.retrieve(other, timeout=30)
        polling.cancel()
    assert [query for query in gateway.queries if query.request_id == other] == []


async def test_keys_take_turns_where_one_query_is_enough() -> None:
    """Under the lightest load, too, every key is used, so that a refused one is tried again."""
    credentials = [Credential(token="a"), Credential(token="b")]
    async with (
        Gateway(tokens=["a", "b"], latency=0.1) as gateway,
        IdeogramClient(gateway.url, credentials=credentials, schedule=FixedInterval(1.0)) as client,
        client.as_completed([gateway.submit(progress="never")]),
    ):
        await anyio.sleep(10.5)
        keys = [query.key for query in gateway.queries]
        assert keys == (["a", "b"] * len(keys))[: len(keys)]
        assert len(keys) >= 10


async def test_a_new_run_tries_refused_keys_at_once() -> None:
    """After all keys were refused, a new call asks by one query whether that is still so."""
    async with (
        Gateway(tokens=["key"]) as gateway,
        IdeogramClient(gateway.url, token="key") as client,
    ):
        request_id = gateway.submit(duration=0)
        gateway.revoke("key")
        for _ in range(2):
            with pytest.raises(AuthenticationError):
                await client.wait(request_id)
        assert len(gateway.queries) == 2
        gateway.accept("key")
        assert (await client.wait(request_id)).is_complete
        assert asyncio.get_running_loop().time() < 1


async def test_in_flight_is_bounded_over_all_keys() -> None:
    """The limit of queries in flight holds for the client as a whole, not for each key."""
    credentials = [Credential(token=f"key-{n}") for n in range(3)]
    async with (
        Gateway(latency=(0.05, 0.3)) as gateway,
        IdeogramClient(gateway.url, credentials=credentials, max_in_flight=24) as client,
    ):
        ids = [gateway.submit(duration=5) for _ in range(150)]
        assert len([r async for r in client.as_completed(ids)]) == 150
        assert gateway.peak_in_flight == 24
        shares = Counter(query.key for query in gateway.queries)
        assert min(shares.values()) >= 0.2 * len(gateway.queries)


def _fail(breaker: CircuitBreaker, asked: float, *, newcomer: bool = False) -> None:
    breaker.failed(asked, asked + 0.1, is_row=newcomer, is_probe=not newcomer)


def test_a_breaker_opens_on_a_row_sent_over_a_second() -> None:
    """Failures of one moment do not open a breaker; five in a row over a second do."""
    breaker = CircuitBreaker()
    for _ in range(10):
        _fail(breaker, 0.0)
    assert not breaker.probing
    _fail(breaker, 1.0)
    assert breaker.probing
    assert 1.1 + FIRST_OPEN_SECONDS <= breaker.open_until <= 1.1 + 1.1 * FIRST_OPEN_SECONDS


def test_a_good_answer_ends_a_row() -> None:
    """Half of all answers may fail for ever: that is no outage."""
    breaker = CircuitBreaker()
    for number in range(100):
        _fail(breaker, number)
        breaker.succeeded(number)
    assert not breaker.probing


def test_a_breaker_waits_longer_after_each_failed_probe() -> None:
    """Each failed probe doubles the wait up to a minute; one good answer closes it."""
    breaker, now, waits = CircuitBreaker(), 0.9, []
    for asked in (0.0, 0.0, 0.0, 0.0, 0.9, 1.0):
        _fail(breaker, asked)
    now = 1.1
    for _ in range(6):
        waits.append(breaker.open_until - now)
        _fail(breaker, breaker.open_until)
        now = breaker._opened_at
    assert all(
        0.99 <= wait / due <= 1.12 for wait, due in zip(waits, (5, 10, 20, 40, 60, 60), strict=True)
    )
    assert not breaker.succeeded(now - 1), "sent before it opened: it tells nothing"
    assert breaker.succeeded(breaker.open_until)
    assert not breaker.probing


def test_ids_that_were_never_asked_are_probes_of_their_own() -> None:
    """Where a whole flight of new ids has failed, others are tried quickly, but not for ever."""
    breaker = CircuitBreaker()
    _fail(breaker, 0.0, newcomer=True)
    assert breaker.probing
    sent: list[float] = []
    while len(sent) < NEWCOMER_PROBES + 3:
        now = breaker.newcomers.next_at
        sent.append(now)
        breaker.newcomers.sent(now)
        _fail(breaker, now, newcomer=True)
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert gaps[: NEWCOMER_PROBES - 1] == pytest.approx([NEWCOMER_SECONDS] * (NEWCOMER_PROBES - 1))
    assert min(gaps[NEWCOMER_PROBES - 1 :]) >= FIRST_OPEN_SECONDS
    assert breaker.is_outage(sent[-1] + 15)


async def test_first_refusals_together_make_no_common_limit() -> None:
    """Five keys begin at once and are refused at once; each has a limit of its own all the same."""
    random.seed(1)  # where many refusals follow together by chance
    credentials = [Credential(token=f"key-{number}") for number in range(5)]
    async with (
        Gateway(limit=TokenBucket(4, 4, by="key")) as gateway,
        IdeogramClient(gateway.url, credentials=credentials, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(80)]
        async with client.as_completed(ids):
            await anyio.sleep(90)
    accepted = [query for query in gateway.queries if query.at > 60 and query.status == 200]
    assert len(accepted) >= 0.92 * 5 * 4 * 30


def test_sharing_is_learned_and_unlearned() -> None:
    """Refusals together make a limit a common one, one session's alone its own; two are chance."""
    sharing = SharedLimitDetector()
    for event in range(4):
        sharing.refused(0, 10.0 * event)
        sharing.refused(1, 10.0 * event + 0.2)
    assert sharing.shared
    for event in range(REFUSALS_ALONE):
        sharing.refused(1, 100.0 + 10 * event)
    assert not sharing.shared
    for events, apart in ((2, 0.2), (50, 0.5)):
        chance = SharedLimitDetector()
        for event in range(events):
            chance.refused(0, 10.0 * event)
            chance.refused(1, 10.0 * event + apart)
        assert not chance.shared
    alone = SharedLimitDetector()
    for event in range(50):
        alone.refused(event % 2, 10.0 * event)
    assert not alone.shared

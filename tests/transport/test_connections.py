"""Kept connections: extra answers on them, their death under a query, their renewal."""

from __future__ import annotations

import random
from collections.abc import AsyncGenerator
from typing import Any

import anyio
import pytest

from ideogram_async import FixedInterval, IdeogramClient
from tests.support.lanes import each_lane
from tests.support.raw_server import End, Query, RawServer, Step, drain, record, reply

pytestmark = [pytest.mark.anyio, each_lane]

_EXTRA = {
    "another id's": reply(record("other")),
    "the same id's": reply(record("second")),
    "a refusal": reply(b'{"error":{"message":"invalid token"}}', "401 Unauthorized"),
    "an empty list": reply(b'{"sampling_requests":[]}'),
    "a head alone": reply(record("second")).partition(b"{")[0],
    "no HTTP": b"garbage\r\n\r\n",
}


@pytest.mark.parametrize("extra", _EXTRA.values(), ids=_EXTRA)
async def test_a_late_extra_answer_on_an_idle_connection(extra: bytes) -> None:
    """What comes unasked on an idle connection is credited to nothing: the next query avoids it."""
    async with RawServer(ends={"second": 1000.0}) as server, IdeogramClient(server.url) as client:
        await client.retrieve("first")
        (idle,) = server.connections
        idle.send(extra)
        await anyio.sleep(1)
        second = await client.retrieve("second")
        assert (second.request_id, second.completion_percentage) == ("second", 50)
        assert idle.closed.is_set()
        assert [query.request_id for query in idle.queries] == ["first"]
        assert len(server.connections) == 2
        assert client.statistics().queries == len(server.queries) == 2


async def test_an_extra_answer_after_the_next_query_was_sent() -> None:
    """A record of another id is discarded with its connection, and the id is asked again."""
    async with RawServer(ends={"second": 1000.0}) as server, IdeogramClient(server.url) as client:
        await client.retrieve("first")
        (kept,) = server.connections
        server.script([reply(record("first"))], request_id="second")
        second = await client.retrieve("second")
        assert (second.request_id, second.completion_percentage) == ("second", 50)
        assert [query.request_id for query in kept.queries] == ["first", "second"]
        assert kept.closed.is_set()
        again = server.queries[-1]
        assert again.request_id == "second"
        assert again.connection is not kept
        assert client.statistics().queries == len(server.queries) == 3


@pytest.mark.parametrize("extra", _EXTRA.values(), ids=_EXTRA)
async def test_an_extra_answer_in_the_same_segment(extra: bytes) -> None:
    """What follows an answer at once is credited to nothing, and its connection ends."""
    async with RawServer(ends={"second": 1000.0}) as server, IdeogramClient(server.url) as client:
        server.script([server.answer("first") + extra], request_id="first")
        await client.retrieve("first")
        assert (await client.retrieve("second")).completion_percentage == 50
        assert server.connections[0].closed.is_set()
        assert {query.request_id for query in server.connections[0].queries} == {"first"}


async def test_an_extra_answer_in_two_parts() -> None:
    """An extra answer whose rest comes after the next query was sent is credited to nothing."""
    extra = reply(record("second"))
    async with RawServer(ends={"second": 1000.0}) as server, IdeogramClient(server.url) as client:
        await client.retrieve("first")
        (idle,) = server.connections
        idle.send(extra[:40])
        await anyio.sleep(1)
        server.script([extra[40:]], request_id="second")
        assert (await client.retrieve("second")).completion_percentage == 50
        assert idle.closed.is_set()


async def test_a_gateway_out_of_step() -> None:
    """Where answers come twice, or are followed by another id's, each id completes in its time."""
    rng = random.Random(3)
    ids = [f"id-{number}" for number in range(40)]
    extras: list[Query] = []

    async def play(query: Query) -> AsyncGenerator[Step, None]:
        yield 0.05
        yield server.answer(query.request_id)
        if rng.random() < 0.15:
            yield rng.choice([0.0, 0.01, 0.2])
            extras.append(query)
            yield rng.choice([server.answer(query.request_id), reply(record("other"))])

    ends = {request_id: rng.uniform(1.0, 30.0) for request_id in ids}
    async with (
        RawServer(ends=ends, default=play) as server,
        IdeogramClient(server.url, schedule=FixedInterval(2.0), max_in_flight=8) as client,
    ):
        completed = []
        async for request in client.as_completed(ids):
            assert anyio.current_time() >= ends[str(request.request_id)]
            completed.append(request.request_id)
        assert sorted(map(str, completed)) == sorted(ids)
        assert len(extras) > 20
        assert server.peak_in_flight <= 8


# Death under a query


@pytest.mark.parametrize("death", [End.CLOSE, End.RESET])
async def test_a_kept_connection_that_dies_under_a_query(death: End) -> None:
    """The query is replayed once, at once, in the same slot, and is counted as another query."""
    async with RawServer() as server, IdeogramClient(server.url, max_in_flight=1) as client:
        await client.retrieve("first")
        server.script([death], request_id="second")
        await client.retrieve("second")
        first, second, replay = server.queries
        assert second.connection is first.connection
        assert replay.connection is not first.connection
        assert replay.request_id == "second"
        assert replay.at == second.at
        assert server.peak_in_flight == 1
        assert client.statistics().queries == 3


async def test_a_connection_closed_right_after_its_answer() -> None:
    """A query sent before the end of its connection was seen is replayed at once."""
    async with RawServer() as server, IdeogramClient(server.url, max_in_flight=1) as client:
        server.script([server.answer("first"), End.CLOSE], request_id="first")
        await drain(client, ["first", "second"])
        first, second = server.queries
        assert second.connection is not first.connection
        assert second.at == first.at
        assert client.statistics().queries == 3  # one was lost in the closed connection


async def test_one_replay_alone() -> None:
    """Where the replay's connection, kept too, dies as well, the id is asked after a backoff."""
    async with RawServer() as server, IdeogramClient(server.url) as client:
        for request_id in ("first", "second"):
            server.script([0.1, server.answer(request_id)], request_id=request_id)
            server.script([End.RESET], request_id="third")
        await drain(client, ["first", "second"])
        await client.retrieve("third")
        asked, replay, later = server.queries[2:]
        kept = {query.connection for query in server.queries[:2]}
        assert {asked.connection, replay.connection} == kept
        assert replay.at == asked.at < later.at
        assert client.statistics().queries == 5


async def test_a_replay_is_paced_and_counted() -> None:
    """A replay counts for its session, and the told rate makes up for it."""
    async with (
        RawServer(ends={"id": 100.0}) as server,
        IdeogramClient(server.url, max_rate=0.5, schedule=FixedInterval(0.5)) as client,
    ):
        await client.retrieve("id")
        async with client.as_completed(["id"]):
            await anyio.sleep(1.5)
            server.script([End.RESET], request_id="id")
            await anyio.sleep(6)
        first, asked, replay, later = (query.at for query in server.queries[:4])
        assert asked - first == pytest.approx(2, rel=0.05)
        assert replay == asked
        assert later - replay == pytest.approx(4, rel=0.05)
        (session,) = client.statistics().sessions
        assert session.queries == len(server.queries)


@pytest.mark.parametrize("death", [End.CLOSE, End.RESET])
async def test_no_replay_on_a_new_connection(death: End) -> None:
    """A query whose connection was a new one is asked again after a backoff alone."""
    async with RawServer() as server, IdeogramClient(server.url) as client:
        for _ in range(2):
            server.script([death])
        await client.retrieve("id")
        times = [query.at for query in server.queries]
        assert len(set(times)) == len(times) == 3
        assert client.statistics().queries == 3


async def test_replays_stay_within_the_limit() -> None:
    """Where one answer in five is a reset, no more queries than allowed are ever in flight."""
    rng = random.Random(7)
    deaths: list[Query] = []

    def play(query: Query) -> list[Step]:
        if rng.random() < 0.2:
            deaths.append(query)
            return [0.05, End.RESET]
        return [0.1, server.answer(query.request_id)]

    ends = {f"id-{number}": rng.uniform(1.0, 20.0) for number in range(50)}
    async with (
        RawServer(ends=ends, default=play) as server,
        IdeogramClient(server.url, schedule=FixedInterval(2.0), max_in_flight=5) as client,
    ):
        await drain(client, list(ends))
        assert server.peak_in_flight == 5
        assert len(deaths) > 50
        assert client.statistics().queries == len(server.queries)


# Renewal


async def test_connections_are_renewed_within_300_s() -> None:
    """Under steady polling each connection is left within 300 s, and not all of them at once."""
    ends = {f"id-{number}": 650.0 for number in range(12)}
    async with (
        RawServer(ends=ends, default=lambda q: [0.5, server.answer(q.request_id)]) as server,
        IdeogramClient(server.url, schedule=FixedInterval(10.0)) as client,
    ):
        await drain(client, list(ends))
        lives = [(c.queries[0].at, c.queries[-1].at) for c in server.connections]
        assert max(last - first for first, last in lives) <= 300
        of_the_first = sorted(last for first, last in lives if first < 10)
        assert len(of_the_first) >= 8
        assert of_the_first[0] >= 230  # they are kept for as long as they may
        assert of_the_first[-1] - of_the_first[0] > 20
        assert len(lives) <= 12 * 5
        assert client.statistics().queries == len(server.queries)


async def test_a_closed_connection_is_forgotten(lane: str) -> None:
    """The plain lane keeps no more for its renewals than for the connections that are open."""
    closing = reply(record("id"), "200 OK", "Connection: close")
    async with (
        RawServer(default=lambda _: [closing, End.CLOSE]) as server,
        IdeogramClient(server.url) as client,
    ):
        for _ in range(20):
            await client.retrieve("id")
        assert len(server.connections) == 20
        if lane == "plain":
            runtime: Any = client._runtime
            (session,) = runtime._transport._sessions
            assert len(session._request_class.renewals) <= 2

"""What befalls connections, names, files, keys and whole gateways: scenes of the fault matrix."""

from __future__ import annotations

import asyncio
import os
import random
import resource
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import aiohttp.connector
import anyio
import pytest
import trustme

from ideogram_async import APITimeoutError, BaseURLError, IdeogramClient
from tests.fault_matrix.scene import IDS, LATENCY, LIMIT, Outcome, Play, Scene, answered
from tests.support.canary import CANARY
from tests.support.raw_server import End, FullPort, Query, RawServer, Step, record, reply

EXTRA = {
    "another id's": reply(record("other")),
    "the same id's": reply(record("sick")),
    "a refusal": reply(b'{"error":{"message":"invalid token"}}', "401 Unauthorized"),
    "an empty list": reply(b'{"sampling_requests":[]}'),
    "a head alone": reply(record("sick")).partition(b"{")[0],
    "no HTTP": b"garbage\r\n\r\n",
}
OUTAGE = 600.0
PROBES = 20
"""Queries in ten minutes, once a breaker has opened: 5, 10, 20, 40, then 60 s apart."""


# Kept connections


def dies_when_reused(end: End) -> Play:
    """A kept connection dies under its next query."""

    async def play(scene: Scene) -> None:
        await scene.client.retrieve("quick")
        scene.script("sick", [end])
        await scene.client.retrieve("sick")
        first, died, replay = scene.server.queries
        assert died.connection is first.connection is not replay.connection
        assert replay.at == died.at
        assert scene.client.statistics().queries == 3

    return play


def dies_twice(end: End) -> Play:
    """Two kept connections die under one query, whose replay takes the second."""

    async def play(scene: Scene) -> None:
        for request_id in ("quick", "well"):
            scene.script(request_id, [0.1, reply(record(request_id))])
            scene.script("sick", [end])
        await scene.run("quick", "well")
        await scene.client.retrieve("sick")
        died, replay, later = scene.asked("sick")
        assert died.connection is not replay.connection
        assert replay.at == died.at < later.at

    return play


def closed_after_its_answer(end: End) -> Play:
    """A connection is closed right after an answer that let it be kept."""

    async def play(scene: Scene) -> None:
        scene.script("sick", [LATENCY, scene.server.answer("sick"), end])
        outcome = await scene.run("sick", "second", "third")
        assert outcome.done.keys() == {"sick", "second", "third"}
        assert max(outcome.done.values()) < 1
        first = scene.asked("sick")[0].connection
        assert [query.request_id for query in first.queries] == ["sick"]

    return play


def late_extra_answer(extra: bytes) -> Play:
    """Something comes on an idle connection that nobody asked for."""

    async def play(scene: Scene) -> None:
        scene.server.ends["sick"] = 1000.0
        await scene.client.retrieve("quick")
        (idle,) = scene.server.connections
        idle.send(extra)
        await anyio.sleep(1)
        found = await scene.client.retrieve("sick")
        assert (found.request_id, found.completion_percentage) == ("sick", 50)
        assert [query.request_id for query in idle.queries] == ["quick"]
        assert idle.closed.is_set()

    return play


async def extra_answer_in_two_parts(scene: Scene) -> None:
    """The rest of an extra answer comes after the next query was sent."""
    scene.server.ends["sick"] = 1000.0
    extra = reply(record("sick"))
    await scene.client.retrieve("quick")
    (idle,) = scene.server.connections
    idle.send(extra[:40])
    await anyio.sleep(1)
    scene.script("sick", [extra[40:]])
    assert (await scene.client.retrieve("sick")).completion_percentage == 50
    assert idle.closed.is_set()


async def answers_one_behind(scene: Scene) -> None:
    """A connection gives each query the answer to the one before it."""
    rng, late = random.Random(5), 0

    def play(query: Query) -> list[Step]:
        nonlocal late
        steps: list[Step] = [LATENCY, scene.server.answer(query.request_id)]
        if rng.random() < 0.3:
            late += 1
            steps += [0.01, reply(record("other")), reply(record("sick"))]
        return steps

    scene.server.default = play
    scene.server.ends["sick"] = 30.0
    outcome = await scene.run()
    assert outcome.done.keys() == set(IDS)
    assert outcome.done["sick"] >= 30.0
    assert late > 5


async def resets_at_random(scene: Scene) -> None:
    """One answer in five is a reset: replays stay within the limit, too."""
    rng, deaths = random.Random(7), 0

    def play(query: Query) -> list[Step]:
        nonlocal deaths
        dies = rng.random() < 0.2
        deaths += dies
        return [LATENCY, End.RESET if dies else scene.server.answer(query.request_id)]

    ids = [f"id-{number}" for number in range(30)]
    scene.server.ends.update((request_id, rng.uniform(1.0, 15.0)) for request_id in ids)
    scene.server.default = play
    outcome = await scene.run(*ids)
    assert outcome.done.keys() == set(ids)
    assert scene.server.peak_in_flight == LIMIT
    assert deaths > 20
    assert scene.client.statistics().queries == len(scene.server.queries)


# Gateways that are gone


@asynccontextmanager
async def _refusing(server: RawServer) -> AsyncIterator[None]:
    await server.stop()
    yield
    await server.start()


@asynccontextmanager
async def _answering(server: RawServer, *steps: Step) -> AsyncIterator[None]:
    server.default = lambda _: steps
    yield
    server.default = answered(server)


def gone(kind: str) -> Play:
    """A gateway is gone for ten minutes, then it is back."""

    async def play(scene: Scene) -> None:
        server, ids = scene.server, [f"id-{number}" for number in range(40)]
        server.ends.update(dict.fromkeys(ids, 30.0))
        outages = {
            "refuses": _refusing(server),
            "errs": _answering(server, LATENCY, reply(b"", "502 Bad Gateway")),
            "says nothing": _answering(server, End.HANG),
        }
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_check_all_done, scene, ids)
            await anyio.sleep(10)
            first = scene.client.statistics().queries
            async with outages[kind]:
                await anyio.sleep(5)
                asked = scene.client.statistics().queries
                assert asked - first <= 1.1 * 5 * len(ids)  # what was due without the outage
                await anyio.sleep(OUTAGE - 5)
                (session,) = scene.client.statistics().sessions
                assert session.state == "broken"
                assert 5 <= scene.client.statistics().queries - asked <= PROBES
        assert anyio.current_time() <= 10 + OUTAGE + 75

    return play


async def _check_all_done(scene: Scene, ids: list[str]) -> None:
    outcome = await scene.run(*ids, deadline=3600)
    assert outcome.done.keys() == set(ids)


async def half_of_all_fail(scene: Scene) -> None:
    """Half of all answers are errors, time and again: what gets through still completes all."""
    rng = random.Random(2)

    def play(query: Query) -> list[Step]:
        sick = query.at < 60 and rng.random() < 0.5
        return [LATENCY, reply(b"", "504 X") if sick else scene.server.answer(query.request_id)]

    ids = [f"id-{number}" for number in range(20)]
    scene.server.ends.update(dict.fromkeys(ids, 30.0))
    scene.server.default = play
    outcome = await scene.run(*ids)
    assert outcome.done.keys() == set(ids)


async def reloads(scene: Scene) -> None:
    """A server is reloaded every half second: what is in flight fails together, each time."""
    server, outcome = scene.server, Outcome()
    ids = [f"id-{number}" for number in range(20)]
    server.ends.update(dict.fromkeys(ids, 15.0))
    storms = 0

    async def storm() -> None:
        nonlocal storms
        while anyio.current_time() < 20:
            await anyio.sleep(0.5)
            await server.stop()
            await server.start()
            storms += 1

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(storm)
        outcome = await scene.run(*ids)
    assert outcome.done.keys() == set(ids)
    assert storms >= 39


async def one_reload(scene: Scene) -> None:
    """All that is in flight fails at one moment, once: that opens no breaker."""
    ids = [f"id-{number}" for number in range(8)]
    scene.server.ends.update(dict.fromkeys(ids, 5.0))
    scene.server.default = lambda query: (
        [End.RESET] if 2 <= query.at < 2.5 else [LATENCY, scene.server.answer(query.request_id)]
    )
    outcome = await scene.run(*ids)
    assert outcome.done.keys() == set(ids)
    assert sum(2 <= query.at < 2.5 for query in scene.server.queries) >= 8
    assert max(outcome.done.values()) < 7  # a breaker holds for 5 s at least


# Connecting


async def never_connects(scene: Scene) -> None:
    """A queue of connections is full."""
    with FullPort() as port:
        async with IdeogramClient(port.url, token=CANARY, connect_timeout=2) as client:
            error = await scene.raised(client.retrieve("sick", timeout=None))
    assert isinstance(error, APITimeoutError)
    assert 6 <= anyio.current_time() <= 8


async def stalled_handshake(scene: Scene) -> None:
    """A TLS handshake never goes on."""
    url = scene.server.url.replace("http", "https")
    async with IdeogramClient(url, token=CANARY, connect_timeout=2) as client:
        error = await scene.raised(client.retrieve("sick", timeout=None))
    assert isinstance(error, APITimeoutError)
    assert 6 <= anyio.current_time() <= 8
    assert all(connection.received for connection in scene.server.connections)
    assert not any(CANARY.encode() in one.received for one in scene.server.connections)


def untrusted(**certificate: Any) -> Play:
    """A certificate is not to be trusted."""

    async def play(scene: Scene) -> None:
        authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust = ssl.create_default_context()
        if certificate:
            authority.configure_trust(trust)
        told = {"host": "127.0.0.1", **certificate}
        authority.issue_cert(told.pop("host"), **told).configure_cert(context)
        async with (
            RawServer(ssl=context) as server,
            IdeogramClient(server.url, token=CANARY, ssl=trust) as client,
        ):
            outcome = await Scene(server, client).run()
            assert isinstance(outcome.error, BaseURLError)
            scene.errors.append(outcome.error)
            assert "certificate is not trusted" in str(outcome.error)
            assert server.queries == []

    return play


@contextmanager
def _names(look_up: Callable[[], str]) -> Iterator[None]:
    """Have every name looked up so, and aiohttp forget names on the loop's clock."""
    real, loop = socket.getaddrinfo, asyncio.get_running_loop()

    def getaddrinfo(host: str, *args: Any, **more: Any) -> Any:
        return real(look_up() if host == "gateway.test" else host, *args, **more)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", getaddrinfo)
        patch.setattr(aiohttp.connector, "monotonic", loop.time)
        yield


def _named(server: RawServer) -> str:
    return server.url.replace("127.0.0.1", "gateway.test")


async def name_not_found(scene: Scene) -> None:
    """A name is not found for 25 s."""
    failed = 0

    def look_up() -> str:
        nonlocal failed
        if anyio_now() < 25:
            failed += 1
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return "127.0.0.1"

    anyio_now = asyncio.get_running_loop().time
    with _names(look_up):
        async with IdeogramClient(_named(scene.server), token=CANARY, allow_http=True) as client:
            outcome = await Scene(scene.server, client).run(*IDS)
    assert outcome.done.keys() == set(IDS)
    assert 5 <= failed <= 25
    assert 25 <= min(outcome.done.values()) <= 90


async def name_unknown(scene: Scene) -> None:
    """A name does not exist: the run ends within 40 s, and says so."""

    def look_up() -> str:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with _names(look_up):
        async with IdeogramClient(_named(scene.server), token=CANARY, allow_http=True) as client:
            outcome = await Scene(scene.server, client).run(*IDS)
    assert isinstance(outcome.error, BaseURLError)
    assert "name not known" in str(outcome.error)
    assert set(outcome.error.pending) == set(IDS)
    assert 30 <= anyio.current_time() <= 40


async def name_moves(scene: Scene) -> None:
    """A name moves to another address, while the former one goes on answering."""
    server, loop = scene.server, asyncio.get_running_loop()
    server.ends["sick"] = 500.0
    with socket.create_server(("127.0.0.2", int(server.url.rpartition(":")[2]))) as sock:
        there: list[float] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there.append(loop.time())
            with suppress(asyncio.IncompleteReadError):
                while await reader.readuntil(b"}"):
                    writer.write(server.answer("sick"))
            writer.close()

        second = await asyncio.start_server(serve, sock=sock)
        with _names(lambda: "127.0.0.1" if loop.time() < 100 else "127.0.0.2"):
            async with IdeogramClient(_named(server), token=CANARY, allow_http=True) as client:
                outcome = await Scene(server, client).run("sick")
        second.close()
    assert outcome.done.keys() == {"sick"}
    assert there
    assert 100 <= there[0] <= 400


# What runs out


def descriptors() -> int:
    """Count the files that this process has open."""
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - a pathlib.Path would say no more


async def no_descriptors(scene: Scene) -> None:
    """The process may open no more files for a while."""
    scene.server.default = lambda query: [LATENCY, scene.server.answer(query.request_id), End.CLOSE]
    scene.server.ends["sick"] = 60.0
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def run_out() -> None:
        await anyio.sleep(5.5)
        with socket.socket() as first_free:
            resource.setrlimit(resource.RLIMIT_NOFILE, (first_free.fileno(), limits[1]))
        try:
            await anyio.sleep(30)
            asked.append(len(scene.server.queries))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    asked: list[int] = []
    outcome = Outcome()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run_out)
        outcome = await scene.run("sick")
    assert outcome.done.keys() == {"sick"}
    assert asked[0] <= 6  # nothing could be asked meanwhile


async def connections_come_and_go(scene: Scene) -> None:
    """A hundred connections break: their descriptors are closed."""
    rng = random.Random(4)
    ends: list[Step] = [End.CLOSE, End.RESET]

    def play(query: Query) -> list[Step]:
        answer = scene.server.answer(query.request_id)
        cut = answer if rng.random() < 0.7 else answer[:-9]
        return [LATENCY, cut, 0.01, rng.choice(ends)]

    scene.server.default = play
    ids = [f"id-{number}" for number in range(10)]
    scene.server.ends.update(dict.fromkeys(ids, 20.0))
    before = descriptors()
    await scene.run(*ids)
    await scene.server.emptied()
    assert len(scene.server.connections) >= 100
    assert descriptors() <= before + LIMIT

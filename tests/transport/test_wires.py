"""The fast lane: which connection a query takes, how long one is kept, and what is written."""

from __future__ import annotations

import asyncio
from typing import Any

import anyio
import pytest

from ideogram_async import Credential
from ideogram_async._protocol.outcome import Fault
from ideogram_async._transport.connection import Wire
from tests.support.lanes import on_fast_lane
from tests.support.raw_server import End, RawServer
from tests.support.transports import percentage_of, sending

pytestmark = [pytest.mark.anyio, on_fast_lane]

_WAYS: dict[str, dict[str, Any]] = {
    "token": {"token": "key-1"},
    "both keys": {"token": "key-1", "access_token": "key-2"},
    "headers": {"headers": {"X-Name": "größe", "User-Agent": "theirs/1"}},
    "no key": {},
}


@pytest.mark.parametrize("options", _WAYS.values(), ids=_WAYS)
@pytest.mark.parametrize("proxied", [False, True])
async def test_what_is_written(options: dict[str, Any], *, proxied: bool) -> None:
    """A query has the line, the headers and the body that aiohttp writes."""
    async with RawServer() as server:
        url = "http://gateway.example/a/path" if proxied else f"{server.url}/a/path"
        if proxied:
            proxy = server.url.replace("//", "//user:p%40ss@")
            options = {**options, "proxy": proxy, "allow_http": True}
        for fast_lane in (True, False):
            async with sending(url, fast_lane=fast_lane, **options) as transport:
                for request_id in ("one", 'an "id" of more bytes: é'):
                    await percentage_of(transport, request_id)
        sent = [(sorted(query.head.split("\r\n")), query.body) for query in server.queries]
        assert sent[:2] == sent[2:]
        assert len(server.connections) == 2


async def test_one_write_a_query(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body go out together: two writes would be two packets."""
    transports: Any = asyncio.selector_events._SelectorSocketTransport  # type: ignore[attr-defined]
    real, written = transports.write, []

    def write(transport: Any, data: bytes) -> None:
        if isinstance(transport.get_protocol(), Wire):
            written.append(data)
        real(transport, data)

    monkeypatch.setattr(transports, "write", write)
    async with RawServer() as server, sending(server.url) as transport:
        for name in ("one", "two"):
            await percentage_of(transport, name)
        assert written == [f"{q.head}\r\n\r\n".encode() + q.body for q in server.queries]


async def test_each_key_on_every_connection() -> None:
    """Connections are shared by the keys, and each query carries its own key alone."""
    keys = [Credential(token="key-0"), Credential(access_token="key-1")]
    async with RawServer() as server, sending(server.url, credentials=keys) as transport:
        order = [0, 1, 1, 0, 0, 1, 1, 0]
        for index in order:
            await percentage_of(transport, "id", index)
        assert len(server.connections) == 2  # the first of each key opens one
        for index, query in zip(order, server.queries, strict=True):
            sent = query.headers("Authorization") + query.headers("Access-Token")
            assert sent == [["Bearer key-0"], ["key-1"]][index]
        carried = [
            {bool(query.headers("Access-Token")) for query in connection.queries}
            for connection in server.connections
        ]
        assert carried == [{False, True}, {False, True}]


async def test_first_in_first_out() -> None:
    """The connection that has been idle for longest is used next, so that none grows stale."""
    async with RawServer() as server, sending(server.url) as transport:
        server.default = lambda query: [
            0.1 * query.connection.number,
            server.answer(query.request_id),
        ]
        async with asyncio.TaskGroup() as tasks:
            for number in range(3):
                tasks.create_task(percentage_of(transport, f"id-{number}"))
        for number in range(6):
            await percentage_of(transport, f"next-{number}")
        taken = [query.connection.number for query in server.queries[3:]]
        assert taken == [1, 2, 3, 1, 2, 3]


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_head_that_breaks_off_on_a_reused_connection(end: End) -> None:
    """Once a byte of its answer has come a query is not sent again at once."""
    replays: list[int] = []
    async with RawServer() as server, sending(server.url, replays) as transport:
        await percentage_of(transport, "first")
        server.script([server.answer("second")[:30], 0.1, end])
        outcome = await transport.query(0, "second")
        assert isinstance(outcome, Fault)
        assert (len(server.queries), replays) == (2, [])


async def test_a_query_that_is_sent_again_has_no_more_time() -> None:
    """Both times together take no longer than `attempt_timeout`."""
    loop = asyncio.get_running_loop()
    async with RawServer() as server, sending(server.url, attempt_timeout=10.0) as transport:
        await percentage_of(transport, "first")
        server.script([6.0, End.CLOSE])
        server.script([End.HANG])
        began = loop.time()
        outcome = await transport.query(0, "second")
        assert isinstance(outcome, Fault)
        assert loop.time() - began == pytest.approx(10.0)
        assert len(server.queries) == 3


# How long it is kept


async def test_an_idle_connection_is_kept_for_55_s() -> None:
    """It is closed then, though no other query comes.

    It begins to idle when, by the last bit, 55 s later is less than 55 s away: a timer that asked
    for 55 s to have passed would fire again and again, at the same moment.
    """
    loop = asyncio.get_running_loop()
    odd = next(at for at in (100.1 + n / 7 for n in range(99)) if (at + 55.0) - at < 55.0)
    async with RawServer() as server, sending(server.url) as transport:
        idle = asyncio.Event()
        loop.call_at(odd, idle.set)
        await idle.wait()
        await percentage_of(transport, "id")
        (connection,) = server.connections
        assert loop.time() == odd
        await anyio.sleep(54.9)
        assert not connection.closed.is_set()
        await anyio.sleep(0.2)
        assert connection.closed.is_set()


async def test_the_idle_end_one_after_the_other() -> None:
    """Each has its own 55 s, by one timer, and a query in between begins them anew."""
    async with RawServer() as server, sending(server.url) as transport:
        server.default = lambda query: [float(query.request_id), server.answer(query.request_id)]
        async with asyncio.TaskGroup() as tasks:
            for seconds in ("1", "5", "9"):
                tasks.create_task(percentage_of(transport, seconds))
        await anyio.sleep(31)  # 40 s
        await percentage_of(transport, "2")  # on the first, until 42 s
        assert server.queries[-1].connection is server.connections[0]
        for connection, end in ((1, 60), (2, 64), (0, 97)):
            await server.connections[connection].closed.wait()
            assert asyncio.get_running_loop().time() == end


async def test_a_query_that_is_cancelled() -> None:
    """Its connection is closed at once, so that nothing of it is in flight any more."""
    async with RawServer(default=lambda _: [End.HANG]) as server, sending(server.url) as transport:
        for _ in range(2):
            query = asyncio.create_task(transport.query(0, "id"))
            await anyio.sleep(1)
            query.cancel()
            with pytest.raises(asyncio.CancelledError):
                await query
            await server.emptied()
            assert server.open == []


async def test_closing_waits_for_every_connection() -> None:
    """Idle or under way, each is gone when `close` has returned."""
    async with RawServer() as server:
        async with sending(server.url) as transport:
            async with asyncio.TaskGroup() as tasks:
                for number in range(3):
                    tasks.create_task(percentage_of(transport, f"id-{number}"))
            server.script([End.HANG])
            query = asyncio.create_task(transport.query(0, "id"))
            await anyio.sleep(1)
            wires = list(transport._lane._idle)  # type: ignore[attr-defined]
            query.cancel()
        assert all(wire._handler.transport is None for wire in wires)
        await server.emptied()
        assert server.open == []

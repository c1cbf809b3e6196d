"""One query over a wire that breaks: sizes, encodings, drips, cuts; each costs its query alone."""

from __future__ import annotations

import gzip
import sys
import tracemalloc

import anyio
import pytest

from ideogram_async import (
    APITimeoutError,
    FixedInterval,
    IdeogramClient,
    InternalServerError,
    InvalidResponseError,
    PollingFailed,
)
from tests.support.lanes import each_lane
from tests.support.large_answers import MIB, large_answers
from tests.support.raw_server import (
    Choice,
    End,
    FullPort,
    RawServer,
    Step,
    body_of,
    drain,
    record,
    reply,
)
from tests.support.transports import percentage_of, sending
from tests.support.wire_faults import BROKEN, GOOD, LATE

pytestmark = [pytest.mark.anyio, each_lane]


# What is too large


@pytest.mark.parametrize("play", large_answers(mib=64).values(), ids=large_answers(mib=64))
async def test_an_answer_larger_than_max_body(play: Choice) -> None:
    """64 MiB are neither read nor held: the connection is closed, and the id is asked again."""
    async with RawServer(ends={"well": 3.0}) as server, IdeogramClient(server.url) as client:
        await drain(client, ["first"])  # what is made but once is not counted
        server.script(play, request_id="large")
        tracemalloc.start()
        try:
            await drain(client, ["large", "well"])
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        large, again = (query for query in server.queries if query.request_id == "large")
        await server.emptied(large.connection)
        assert large.connection.closed.is_set()
        assert again.connection is not large.connection
        assert large.sent < 16 * MIB
        assert peak < 16 * MIB


async def test_answers_that_stay_too_large_fail_their_id_alone() -> None:
    """Five in a row fail the id, with an error that names max_body."""
    long = body_of({**record("large"), "user_prompt": "x" * 2000})
    async with (
        RawServer(ends={"well": 30.0}) as server,
        IdeogramClient(server.url, max_body=2000, schedule=FixedInterval(1.0)) as client,
    ):
        for _ in range(5):
            server.script([reply(long)], request_id="large")
        with pytest.raises(PollingFailed) as caught:
            await drain(client, ["large", "well"])
        (error,) = caught.value.exceptions
        assert isinstance(error, InvalidResponseError)
        assert (error.request_id, error.status) == ("large", 200)
        assert "max_body, 2000 bytes" in str(error)
        assert 30 <= anyio.current_time() < 32


@pytest.mark.parametrize("shape", ["plain", "chunked", "zipped"])
async def test_an_answer_of_exactly_max_body(shape: str) -> None:
    """The cap is what may be read, decoded: one byte more is too much."""
    body = body_of(record("id"))
    answer = reply(body, zipped=shape == "zipped", chunked=shape == "chunked")
    async with RawServer(default=lambda _: [answer]) as server:
        async with IdeogramClient(server.url, max_body=len(body)) as client:
            assert (await client.retrieve("id")).is_complete
        async with IdeogramClient(server.url, max_body=len(body) - 1) as client:
            with pytest.raises(InvalidResponseError, match="larger than max_body"):
                await client.retrieve("id")


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(("size", "connections"), [(200_000, 1), (3 * MIB, 3)])
async def test_the_body_of_an_error(size: int, connections: int, *, chunked: bool) -> None:
    """An error keeps its status whatever its size; read under the cap, it keeps its connection."""
    body = b'{"error":{"message":"overloaded"}}'.ljust(size)
    async with RawServer() as server, IdeogramClient(server.url) as client:
        for _ in range(3):
            server.script([reply(body, "500 Internal Server Error", chunked=chunked)])
        with pytest.raises(InternalServerError, match="500: overloaded") as caught:
            await client.retrieve("id")
        assert caught.value.status == 500
        assert len(server.queries) == 3
        assert len(server.connections) == connections


async def test_gzip_alone_is_asked_for() -> None:
    """Other encodings have other decoders, with caps of their own or none: not even deflate."""
    async with RawServer() as server, IdeogramClient(server.url) as client:
        server.script([reply(record("id"), zipped=True)])
        assert (await client.retrieve("id")).is_complete
        assert server.queries[0].headers("Accept-Encoding") == ["gzip"]


# What breaks


@pytest.mark.parametrize("play", BROKEN.values(), ids=BROKEN)
async def test_what_breaks_costs_its_query_alone(play: Choice) -> None:
    """However often it breaks, on a connection that ends with it, its id and others complete."""
    async with (
        RawServer(ends={"well": 40.0}) as server,
        IdeogramClient(server.url, schedule=FixedInterval(1.0)) as client,
    ):
        for _ in range(6):
            server.script(play, request_id="sick")
        ends = await drain(client, ["sick", "well"])
        assert 40 <= ends["well"] < 42
        sick = [query for query in server.queries if query.request_id == "sick"]
        assert len(sick) == 7
        assert all(query.connection.closed.is_set() for query in sick[:6])


@pytest.mark.parametrize("play", LATE.values(), ids=LATE)
async def test_what_never_ends_is_ended(play: Choice) -> None:
    """Whatever never ends is ended by attempt_timeout, with its connection."""
    async with (
        RawServer(ends={"well": 40.0}) as server,
        IdeogramClient(server.url, schedule=FixedInterval(1.0), attempt_timeout=4) as client,
    ):
        for _ in range(2):
            server.script(play, request_id="sick")
        ends = await drain(client, ["sick", "well"])
        assert 40 <= ends["well"] < 42
        first, second, third = (q for q in server.queries if q.request_id == "sick")
        assert 4 <= second.at - first.at <= 4.5
        assert 4 <= third.at - second.at <= 5
        assert first.connection.closed.is_set()
        assert second.connection.closed.is_set()


@pytest.mark.parametrize("end", [End.CLOSE, End.RESET])
async def test_a_body_that_ends_with_its_connection(end: End) -> None:
    """An answer without a length is taken when it is whole, and asked for again when it is not."""
    head, _, body = GOOD.partition(b"\r\n\r\n")
    head = head.partition(b"\r\nContent-Length")[0] + b"\r\n\r\n"
    async with RawServer(ends={"well": 10.0}) as server, IdeogramClient(server.url) as client:
        server.script([head + body[:-1], 0.1, end], request_id="sick")
        server.script([head + body, 0.1, end], request_id="sick")
        await drain(client, ["sick", "well"])
        assert sum(query.request_id == "sick" for query in server.queries) == 2


async def test_an_unknown_encoding() -> None:
    """A body in an encoding that was not asked for is no answer, whether or not it is decoded."""
    async with RawServer(ends={"well": 10.0}) as server, IdeogramClient(server.url) as client:
        for encoding in ("br", "zstd", "identity, gzip"):
            server.script(
                [reply(b"\x8b\x02\x80", "200 OK", f"Content-Encoding: {encoding}")],
                request_id="sick",
            )
        await drain(client, ["sick", "well"])
        assert sum(query.request_id == "sick" for query in server.queries) == 4


@pytest.mark.parametrize("zipped", [False, True])
async def test_an_answer_in_very_many_chunks(*, zipped: bool) -> None:
    """A chunk a byte: that is slow to read, but no larger an answer."""
    body = gzip.compress(body_of(record("id"))) if zipped else body_of(record("id"))
    encoding = "Content-Encoding: gzip\r\n" if zipped else ""
    head = f"HTTP/1.1 200 OK\r\n{encoding}Transfer-Encoding: chunked\r\n\r\n".encode()
    chunks = b"".join(b"1\r\n%c\r\n" % byte for byte in body)
    end = b"0\r\n\r\n"
    plays: list[list[Step]] = [[head + chunks + end], [head, 0.1, chunks, 0.1, end]]
    for max_body in (len(body_of(record("id"))), 1 << 20):
        async with RawServer() as server, sending(server.url, max_body=max_body) as transport:
            for play in plays:
                server.script(play)
                assert await percentage_of(transport, "id") == 100
            assert len(server.connections) == 1


@pytest.mark.parametrize("apart", [False, True])
async def test_interim_answers(*, apart: bool) -> None:
    """What comes before the answer as a 1xx is passed over."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    async with RawServer() as server, sending(server.url) as transport:
        for _ in range(2):
            answer = server.answer("id")
            server.script([interim, 0.1, answer] if apart else [interim + answer])
            assert await percentage_of(transport, "id") == 100
        assert len(server.connections) == 1


@pytest.mark.parametrize(
    ("version", "connection", "kept"),
    [
        ("1.0", "", False),
        ("1.0", "Connection: keep-alive\r\n", True),
        ("1.1", "", True),
        ("1.1", "Connection: close\r\n", False),
    ],
)
async def test_whether_a_connection_is_kept(version: str, connection: str, *, kept: bool) -> None:
    """An answer's version and `Connection` say whether it may carry another query."""
    async with RawServer() as server, sending(server.url) as transport:
        for _ in range(2):
            answer = server.answer("id").replace(b"HTTP/1.1", f"HTTP/{version}".encode())
            server.script([answer.replace(b"Content-Type", connection.encode() + b"Content-Type")])
            assert await percentage_of(transport, "id") == 100
        assert len(server.connections) == (1 if kept else 2)


async def test_a_refused_connection() -> None:
    """While nothing listens no id fails; soon after something does, all complete."""
    async with RawServer() as server, IdeogramClient(server.url) as client:
        await server.stop()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain, client, ["one", "two"])
            await anyio.sleep(60)
            assert client.statistics().queries > 5
            await server.start()
        assert 60 <= anyio.current_time() <= 120


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets whoever connects wait")
async def test_a_connection_that_never_comes() -> None:
    """Connecting ends by connect_timeout, and the error says so."""
    with FullPort() as port:
        async with IdeogramClient(port.url, connect_timeout=2) as client:
            with anyio.fail_after(600), pytest.raises(APITimeoutError, match="connect_timeout"):
                await client.retrieve("id", timeout=None)
        assert 6 <= anyio.current_time() <= 8

"""A query without an answer: the error names the party that caused it."""

from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.client_reqrep import ConnectionKey

from ideogram_async import APIConnectionError, APIError, APITimeoutError
from ideogram_async._protocol.outcome import Fault, FaultKind
from ideogram_async._transport.faults import FaultReader
from tests.support.canary import CANARY, left_by
from tests.support.lanes import each_lane
from tests.support.raw_server import End, FullPort, RawServer, reply
from tests.support.settings import settled
from tests.support.transports import fault_of, percentage_of, sending
from tests.support.wire_faults import BROKEN
from tests.transport.test_tls import serving

pytestmark = [pytest.mark.anyio, each_lane]

GATEWAY = "https://gateway.example"
KINDS = {
    "gateway": {
        FaultKind.TRANSIENT,
        FaultKind.CONNECTION,
        FaultKind.TIMEOUT,
        FaultKind.UNKNOWN_HOST,
    },
    "proxy": {FaultKind.CONNECTION, FaultKind.UNKNOWN_HOST},
    "process": {FaultKind.EXHAUSTED},
}
"""The kinds of a fault by the party that caused it."""


def address_of(server: RawServer) -> str:
    """Return the server's host and port."""
    return server.url.partition("//")[2]


def assert_says(fault: Fault, words: str, party: str = "gateway") -> None:
    """The fault is passing, of that party, and its error says that."""
    assert str(fault.error).endswith(words)
    assert fault.kind in KINDS[party]
    assert ("the proxy" in str(fault.error)) is (party == "proxy")
    assert isinstance(fault.error, APIConnectionError)
    assert fault.error.retryable


# The gateway


async def test_nothing_listens() -> None:
    """A refused connection is told by its address."""
    async with RawServer() as server:
        await server.stop()
        fault = await fault_of(server.url)
        assert_says(fault, f"no answer from {address_of(server)}: connection refused")


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (socket.EAI_NONAME, "name not known"),
        (socket.EAI_AGAIN, "the name could not be looked up for now"),
    ],
)
@pytest.mark.parametrize("proxied", [False, True])
async def test_a_name_that_is_not_found(
    number: int, words: str, monkeypatch: pytest.MonkeyPatch, *, proxied: bool
) -> None:
    """The error names the host that was looked up: behind a proxy that is the proxy's."""

    def getaddrinfo(*_: object, **__: object) -> Any:
        raise socket.gaierror(number, "as the system words it")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    if proxied:
        fault = await fault_of(GATEWAY, proxy="http://proxy.example:3128")
        assert_says(fault, f"no answer from the proxy proxy.example:3128: {words}", "proxy")
    else:
        assert_says(await fault_of(GATEWAY), f"no answer from gateway.example: {words}")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("closed", "it closed the connection"),
        ("reset", "connection reset by peer"),
        ("closed in the head", "it closed the connection"),
        ("cut", "its answer broke off"),
        ("cut in a chunk", "its answer broke off"),
        ("header of 100 KB", "a header of its answer is too long"),
        ("300 headers", "what came could not be read as HTTP"),
        ("no HTTP", "what came could not be read as HTTP"),
        ("no size of a chunk", "what came could not be read as HTTP"),
        ("bad gzip", "its answer could not be decoded"),
    ],
)
async def test_a_broken_answer(name: str, words: str) -> None:
    """What broke off, is no HTTP, has too long a header or cannot be decoded is called so."""
    async with RawServer() as server:
        server.script(BROKEN[name])
        assert_says(await fault_of(server.url), f"no answer from {address_of(server)}: {words}")


async def test_another_protocol() -> None:
    """A 101 ends the query at once: the connection speaks HTTP no longer."""
    async with RawServer() as server, sending(server.url) as transport:
        server.script(BROKEN["protocol switched"])
        fault = await transport.query(0, "id")
        assert isinstance(fault, Fault)
        assert (fault.error.status, asyncio.get_running_loop().time()) == (101, 0)
        assert await percentage_of(transport, "id") == 100
        assert len(server.connections) == 2


async def test_a_query_that_was_lost_twice() -> None:
    """Where the replay's connection dies as well the error says that it was two."""
    replays: list[int] = []
    async with RawServer() as server, sending(server.url, replays) as transport:
        server.default = lambda query: [0.1, server.answer(query.request_id)]
        async with asyncio.TaskGroup() as tasks:
            for request_id in ("first", "second"):
                tasks.create_task(percentage_of(transport, request_id))
        for _ in range(2):
            server.script([End.CLOSE])
        fault = await transport.query(0, "third")
        assert isinstance(fault, Fault)
        words = f"no answer from {address_of(server)}: it closed the connection, twice"
        assert_says(fault, words)
        assert replays == [0]


async def test_times_out() -> None:
    """Both timeouts are told by the setting that has passed."""
    async with RawServer(default=lambda _: [End.HANG]) as server:
        fault = await fault_of(server.url, attempt_timeout=3)
        words = f"no answer from {address_of(server)}: no whole answer within attempt_timeout, 3 s"
        assert_says(fault, words)
        assert isinstance(fault.error, APITimeoutError)
    with FullPort() as port:
        fault = await fault_of(port.url, connect_timeout=2)
        assert_says(fault, "no connection within connect_timeout, 2 s")
        assert isinstance(fault.error, APITimeoutError)


# The proxy

_SCHEMES = pytest.mark.parametrize(
    "gateway", [GATEWAY, "http://127.0.0.1:1"], ids=["https", "http"]
)


@_SCHEMES
@pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "407 No"])
async def test_a_proxy_that_wants_a_password(gateway: str, answer: str) -> None:
    """A 407 is the proxy's, whether it was asked for a tunnel or for the query itself."""
    async with RawServer(default=lambda _: [reply(b"", answer)]) as proxy:
        fault = await fault_of(gateway, proxy=proxy.url)
        refusal = "it refused: 407 Proxy Authentication Required"
        assert_says(fault, f"no answer from the proxy {address_of(proxy)}: {refusal}", "proxy")


async def test_a_proxy_that_wants_a_password_closes_the_connection() -> None:
    """A 407 for a query ends its connection: the next query cannot be lost on it."""
    async with (
        RawServer(default=lambda _: [reply(b"", "407 No")]) as proxy,
        sending("http://127.0.0.1:1", proxy=proxy.url) as transport,
    ):
        for _ in range(2):
            await transport.query(0, "id")
        assert len(proxy.connections) == 2


async def test_a_proxy_that_closes_the_connection() -> None:
    """Either may have caused it, the proxy or the gateway: both are named, without a password."""
    async with RawServer(default=lambda _: [End.CLOSE]) as proxy:
        url = proxy.url.replace("//", "//user:word@")
        fault = await fault_of("http://127.0.0.1:1", proxy=url)
        name = f"127.0.0.1:1 through the proxy {address_of(proxy)}"
        assert str(fault.error).endswith(f"no answer from {name}: it closed the connection")


async def test_a_proxy_that_gives_no_tunnel() -> None:
    """Any other status but 200 to CONNECT is the proxy's, too."""
    async with RawServer(default=lambda _: [reply(b"", "503 X")]) as proxy:
        fault = await fault_of(GATEWAY, proxy=proxy.url)
        words = f"the proxy {address_of(proxy)}: it refused: 503 Service Unavailable"
        assert_says(fault, f"no answer from {words}", "proxy")


@_SCHEMES
async def test_a_proxy_that_is_not_there(gateway: str) -> None:
    """A refused connection is the proxy's where there is one."""
    async with RawServer() as proxy:
        await proxy.stop()
        fault = await fault_of(gateway, proxy=proxy.url)
        words = f"no answer from the proxy {address_of(proxy)}: connection refused"
        assert_says(fault, words, "proxy")


async def test_a_proxy_that_never_answers() -> None:
    """A tunnel that never comes ends by connect_timeout."""
    async with RawServer(default=lambda _: [End.HANG]) as proxy:
        fault = await fault_of(GATEWAY, proxy=proxy.url, connect_timeout=2)
        words = "no connection within connect_timeout, 2 s"
        assert_says(fault, f"no answer from the proxy {address_of(proxy)}: {words}", "proxy")


async def test_the_certificate_of_a_proxy() -> None:
    """An untrusted certificate is told by whose it is."""
    authority = trustme.CA()
    async with RawServer(ssl=serving(authority)) as server:
        own = await fault_of(server.url)
        proxys = await fault_of(GATEWAY, proxy=server.url)
        for fault, whose in ((own, address_of(server)), (proxys, "the proxy 127.0.0.1:")):
            assert isinstance(fault.error, APIConnectionError)
            assert f"{whose}" in str(fault.error)
            assert "its certificate is not trusted" in str(fault.error)
        assert (own.kind, proxys.kind) == (FaultKind.ADDRESS, FaultKind.CONNECTION)


# This process


async def test_no_more_descriptors() -> None:
    """A process that may open no more files is told as that, and the next query goes out."""
    async with RawServer() as server, sending(server.url) as transport:
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as first_free:
            number = first_free.fileno()
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, limits[1]))
        try:
            fault = await transport.query(0, "id")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert isinstance(fault, Fault)
        words = "no query was sent: this process has no more file descriptors (EMFILE)"
        assert_says(fault, words, "process")
        assert server.connections == []
        assert await percentage_of(transport, "id") == 100


@pytest.mark.parametrize("name", ["EMFILE", "ENFILE", "EADDRNOTAVAIL", "ENOMEM"])
async def test_what_this_process_runs_out_of(name: str) -> None:
    """Each of them is this process's, whatever it wanted to connect to."""
    key = ConnectionKey("gateway.example", 443, True, True, None, None, None)
    cause = OSError(getattr(errno, name), "as the system words it")
    error = aiohttp.ClientConnectorError(key, cause)
    fault = FaultReader(settled(GATEWAY)).fault("id", error)
    assert_says(fault, f"({name})", "process")


# The id, and our own


class Odd(str):
    """What libraries for arrays and templates hand over as text."""

    __slots__ = ()


@pytest.mark.parametrize("request_id", [Odd("id"), "half \ud800 a character"])
async def test_an_id_that_cannot_be_sent(request_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """It is the id's own fault, with its cause, and is logged; nothing is sent."""
    async with RawServer() as server:
        fault = await fault_of(server.url, request_id)
        assert server.connections == []
    assert fault.kind is FaultKind.LOCAL
    assert isinstance(fault.error, APIError)
    assert not fault.error.retryable
    assert "no query could be made" in str(fault.error)
    cause = fault.error.__cause__
    assert type(cause) in {TypeError, UnicodeEncodeError}
    assert type(cause).__name__ in str(fault.error)
    assert "encode_query" in caplog.text  # a traceback


_FAIL = """
def fail(words, head):
    raise ValueError(words)
"""


@pytest.mark.parametrize("words", [f"bad {CANARY}", "bad header"])
async def test_an_error_of_our_own_that_holds_the_key(
    words: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The key is neither in the error, nor in its cause, nor in the log."""
    caplog.set_level(logging.DEBUG)
    frames: dict[str, Any] = {}
    exec(compile(_FAIL, "elsewhere.py", "exec"), frames)  # noqa: S102 - a frame beyond the tests
    with pytest.raises(ValueError, match="bad") as caught:
        frames["fail"](words, head=f"Authorization: {CANARY}")
    fault = FaultReader(settled(GATEWAY, token=CANARY)).fault("id", caught.value)
    assert "ValueError: bad" in str(fault.error)
    assert (fault.error.__cause__ is None) is (CANARY in words)
    assert not [text for text in left_by(fault.error) if CANARY in text]
    assert CANARY not in caplog.text

"""The key is nowhere in what a fault leaves behind: errors, their chains, frames, logs."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import pickle
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
import trustme

from ideogram_async import APIError, FixedInterval, IdeogramClient, IdeogramError
from ideogram_async._config import Settings
from ideogram_async._limits.session import KeySession
from ideogram_async._transport.transport import Transport
from tests.support.canary import CANARY, left_by
from tests.support.lanes import each_lane
from tests.support.raw_server import Choice, End, Play, Query, RawServer, reply
from tests.support.wire_faults import BROKEN, LATE

pytestmark = [pytest.mark.anyio, each_lane]


async def errors_of(client: IdeogramClient) -> list[IdeogramError]:
    """Poll an id, in each way, where all that comes is one fault."""
    errors = []
    with anyio.fail_after(3600):
        for call in (
            client.retrieve("sick", timeout=None),
            client.wait("sick", deadline=12),
            _collected(client.as_completed(["sick"], deadline=12)),
        ):
            with pytest.raises(IdeogramError) as caught:
                await call
            errors.append(caught.value)
    return errors


async def _collected(results: AsyncIterable[object]) -> list[object]:
    return [result async for result in results]


def check(errors: list[IdeogramError], logs: pytest.LogCaptureFixture) -> None:
    """Look for the key everywhere."""
    for error in errors:
        left = list(left_by(error))
        assert len(left) > 5  # frames of the package among them
        assert not [text for text in left if CANARY in text]
    assert CANARY not in logs.text
    assert not [log for log in logs.records if log.name == "asyncio" and log.levelno > logging.INFO]


@asynccontextmanager
async def keyed(url: str, **settings: Any) -> AsyncIterator[IdeogramClient]:
    """Make a client that sends the key in both headers."""
    async with IdeogramClient(
        url,
        token=CANARY,
        access_token=CANARY,
        schedule=FixedInterval(1.0),
        attempt_timeout=4,
        **settings,
    ) as client:
        yield client


@pytest.mark.parametrize("play", [*BROKEN.values(), *LATE.values()], ids=[*BROKEN, *LATE])
async def test_after_a_fault_of_the_wire(play: Choice, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever breaks or never ends, the key is in nothing that it leaves."""
    caplog.set_level(logging.DEBUG)
    choose: Callable[[Query], Play] = play if callable(play) else lambda _: play
    async with RawServer(default=choose) as server, keyed(server.url) as client:
        check(await errors_of(client), caplog)
        assert server.queries[0].headers("Access-Token") == [CANARY]  # it was there to be found


def _echo(status: str, *headers: str) -> Callable[[Query], Play]:
    def play(query: Query) -> Play:
        words = json.dumps({"error": {"message": f"what is this: {query.head}"}}).encode()
        return [reply(words, status, *headers)]

    return play


_ECHOES: dict[str, Callable[[Query], Play]] = {
    **{
        status: _echo(status)
        for status in ("200 OK", "401 Unauthorized", "403 Forbidden", "404 Not Found", "500 Oops")
    },
    "redirect": _echo("302 Found", f"Location: https://{CANARY}@elsewhere.example/?key={CANARY}"),
    "web page": lambda q: [reply(f"<html>{q.head}".encode(), "200 OK", "Content-Type: text/html")],
    "no HTTP": lambda query: [f"{query.head}\r\n\r\n".encode()],
    "header": lambda _: [reply(b"", "200 OK", f"Authorization: {CANARY}", "X: " + 9999 * "x")],
    "status": lambda _: [reply(b"", f"500 {CANARY}")],
}


@pytest.mark.parametrize("play", _ECHOES.values(), ids=_ECHOES)
async def test_where_the_gateway_echoes_it(
    play: Callable[[Query], Play], caplog: pytest.LogCaptureFixture
) -> None:
    """What the gateway says of the key in any place of an answer is not passed on."""
    caplog.set_level(logging.DEBUG)
    async with RawServer(default=play) as server, keyed(server.url) as client:
        check(await errors_of(client), caplog)


async def test_where_nobody_answers(caplog: pytest.LogCaptureFixture) -> None:
    """The key is in nothing that a refused connection leaves."""
    caplog.set_level(logging.DEBUG)
    async with RawServer() as server, keyed(server.url) as client:
        await server.stop()
        check(await errors_of(client), caplog)


async def test_where_tls_fails(caplog: pytest.LogCaptureFixture) -> None:
    """The key is in nothing that an untrusted certificate, or a stalled handshake, leaves."""
    caplog.set_level(logging.DEBUG)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    async with RawServer(ssl=context) as server, keyed(server.url) as client:
        check(await errors_of(client), caplog)
    async with (
        RawServer() as server,
        keyed(server.url.replace("http", "https"), connect_timeout=2) as client,
    ):
        check(await errors_of(client), caplog)


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "200 OK"])
async def test_where_a_proxy_fails(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """Neither the key nor the proxy's password is in what a proxy leaves that gives no tunnel."""
    caplog.set_level(logging.DEBUG)
    async with RawServer(default=lambda _: [reply(b"", status)]) as proxy:
        url = proxy.url.replace("//", f"//user:{CANARY}@")
        async with keyed("https://gateway.example", proxy=url, connect_timeout=2) as client:
            check(await errors_of(client), caplog)


async def test_what_a_running_client_is_made_of() -> None:
    """No object of the package, seen while queries are under way, prints the key."""
    async with (
        RawServer(default=lambda _: [End.HANG]) as server,
        keyed(server.url) as client,
        client.as_completed([f"id-{number}" for number in range(9)]) as run,
    ):
        await anyio.sleep(1)
        assert server.in_flight == 8
        ours = [one for one in gc.get_objects() if _is_ours(type(one).__module__)]
        assert {IdeogramClient, Settings, Transport, KeySession} <= {type(one) for one in ours}
        printed = [repr(one) for one in (*ours, asyncio.all_tasks(), run, client.statistics())]
        assert not [text for text in printed if CANARY in text]


def _is_ours(module: object) -> bool:
    return isinstance(module, str) and module.startswith("ideogram_async")


@pytest.mark.parametrize("started", [False, True])
async def test_a_client_is_not_pickled(*, started: bool) -> None:
    """Neither a client nor its settings can be pickled: the key would go along."""
    client = IdeogramClient("https://gateway.example", token=CANARY)
    if started:
        client._started()
    for one in (client, client._settings, client._settings.credentials):
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
            with pytest.raises(TypeError) as caught:
                pickle.dumps(one, protocol)
            assert CANARY not in str(caught.value)
    await client.close()


def test_the_search_itself() -> None:
    """A key in a chained error, a group or a frame's locals would be found."""

    def hidden(error: BaseException) -> bool:
        return any(CANARY in text for text in left_by(error))

    chained = APIError("no answer")
    chained.__cause__ = ValueError(CANARY)
    assert hidden(chained)
    assert hidden(ExceptionGroup("several", [APIError(f"it said {CANARY}")]))
    assert not hidden(APIError("no answer"))
    with pytest.raises(ValueError, match="headers") as caught:
        IdeogramClient("https://gateway.example", headers={f"{CANARY} ": "x"})
    assert hidden(caught.value)  # it is no key that was given as one

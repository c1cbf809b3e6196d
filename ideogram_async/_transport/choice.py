"""Which lane is used, and why: the fast one, unless it cannot be or somebody watches aiohttp."""

from __future__ import annotations

import asyncio
import gzip
import inspect
import sys
from collections.abc import Iterable
from functools import cache
from importlib import import_module
from types import FunctionType

import aiohttp

from ideogram_async._transport.answer_reader import AnswerReader

_PROACTOR = getattr(asyncio, "ProactorEventLoop", ())
_MAX_BODY = 1000


def why_plain(sessions: Iterable[aiohttp.ClientSession], *, forced: bool | None) -> str | None:
    """Return why the plain lane is used, or None where the fast one is."""
    if forced is False:
        return "the setting fast_lane is False"
    if isinstance(asyncio.get_running_loop(), _PROACTOR):
        return "the loop's transports cannot change their protocol"
    return probe() or (None if forced else watcher(sessions))


def watcher(sessions: Iterable[aiohttp.ClientSession]) -> str | None:
    """Return what shows that somebody watches aiohttp's queries, or None.

    A method is aiohttp's own if it is a function with the globals of its module: those, a wrapper
    does not copy.
    """
    if any(session.trace_configs for session in sessions):
        return "aiohttp's sessions are traced"
    for cls in (aiohttp.ClientSession, aiohttp.TCPConnector, aiohttp.BaseConnector):
        home = vars(sys.modules[cls.__module__])
        for name, value in vars(cls).items():
            own = type(value) is FunctionType and value.__globals__ is home
            if callable(value) and not own:
                return f"aiohttp's {cls.__name__}.{name} is replaced"
    return None


@cache
def probe() -> str | None:
    """Return what of aiohttp is not as the fast lane needs it, or None.

    All that aiohttp does not document, and the fast lane uses, is tried here.
    """
    try:
        _check_names()
        _check_parser()
    except Exception as error:  # noqa: BLE001 - whatever another aiohttp does
        return f"this aiohttp is not known: {type(error).__name__}: {error}"
    return None


def _check_names() -> None:
    inspect.signature(aiohttp.BaseConnector.connect).bind(None, None, [], None)
    inspect.signature(aiohttp.ClientSession.__init__).bind(None, middlewares=())
    handler = import_module("aiohttp.client_proto").ResponseHandler
    for cls, names in (
        (aiohttp.connector.Connection, ("protocol", "transport", "close")),
        (handler, ("should_close", "connection_lost")),
    ):
        for name in names:
            getattr(cls, name)
    if aiohttp.http.HttpResponseParser.__module__ != "aiohttp._http_parser":
        raise ImportError("its parser in C is not there")


def _check_parser() -> None:
    """Read answers which use all that is needed of the parser."""
    ok, packed = b"HTTP/1.1 200 OK\r\n", b"Content-Encoding: gzip\r\n"
    length, bomb = b"Content-Length: %d\r\n\r\n", gzip.compress(bytes(1 << 20))
    chunks = b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n"
    body = b"x" * _MAX_BODY
    zipped = gzip.compress(body, mtime=0)
    whole = ok + length % _MAX_BODY + body
    in_chunks = ok + packed + chunks % (len(zipped), zipped)
    for pieces, expected in (
        ([whole[:9], whole[9:60], whole[60:]], (body, True)),
        ([in_chunks[:50], in_chunks[50:]], (body, True)),
        ([b"HTTP/1.1 100 Continue\r\n\r\n" + whole], (body, True)),
        ([whole + ok], (body, True)),
        ([whole + whole], (body, False)),
        ([ok + b"\r\n" + body, b""], (body, False)),
    ):
        if _read(pieces) != expected:
            raise ValueError("its parser reads an answer otherwise")
    unpacked, _ = _read([ok + packed + length % len(bomb) + bomb])
    if not _MAX_BODY < len(unpacked) < 10 * _MAX_BODY:
        raise ValueError("its parser does not stop")


def _read(pieces: list[bytes]) -> tuple[bytes, bool]:
    """Return the body that comes of the pieces, and whether the connection then is kept."""
    reader = AnswerReader(asyncio.get_running_loop(), _MAX_BODY)
    whole = [reader.feed(piece) for piece in pieces]
    if not whole[-1]:
        reader.feed_eof()
    return reader.body, reader.reusable

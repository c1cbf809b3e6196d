"""Answers that never end, and answers that break: byte by byte, by name."""

from __future__ import annotations

import gzip
from collections.abc import AsyncGenerator, Callable

from tests.support.raw_server import Choice, End, Play, Query, Step, body_of, record, reply

GOOD = reply(record("sick"))
CHUNKED = reply(record("sick"), chunked=True)
ZIPPED = gzip.compress(body_of(record("sick")))


def _drip(data: bytes, at_once: int) -> Callable[[Query], Play]:
    async def drip(_: Query) -> AsyncGenerator[Step, None]:
        yield data[:at_once]
        for byte in data[at_once:]:
            yield 1.0
            yield bytes([byte])

    return drip


async def _continue(_: Query) -> AsyncGenerator[Step, None]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"
        yield 0.01


LATE: dict[str, Choice] = {
    "no answer": [End.HANG],
    "dripping head": _drip(GOOD, 20),
    "dripping body": _drip(GOOD, GOOD.index(b"{")),
    "dripping chunk": _drip(CHUNKED, CHUNKED.index(b"{")),
    "endless 1xx": _continue,
    "stops in the head": [GOOD[:30], End.HANG],
    "stops in the body": [GOOD[:-1], End.HANG],
    "stops before the last chunk": [CHUNKED[:-5], End.HANG],
}
"""What does not end of itself."""

BROKEN: dict[str, Choice] = {
    "closed": [End.CLOSE],
    "reset": [End.RESET],
    "closed in the head": [GOOD[:30], End.CLOSE],
    "cut": [GOOD[:-1], End.CLOSE],
    "cut by a reset": [GOOD[:-1], 0.1, End.RESET],
    "cut in a chunk": [CHUNKED[:-12], End.CLOSE],
    "cut before the last chunk": [CHUNKED[:-5], End.CLOSE],
    "no size of a chunk": [CHUNKED.replace(b"\r\n\r\n", b"\r\n\r\nz", 1)],
    "300 headers": [reply(record("sick"), "200 OK", *(f"X-{n}: x" for n in range(300)))],
    "header of 100 KB": [reply(record("sick"), "200 OK", "X-Header: " + "x" * 100_000)],
    "no HTTP": [b"220 mail.example ready\r\n"],
    "a web page alone": [b"<html><body>It works!</body></html>"],
    "two lengths": [GOOD.replace(b"Content-Length", b"Content-Length: 1\r\nContent-Length")],
    "length and chunks": [CHUNKED.replace(b"Transfer", b"Content-Length: 9\r\nTransfer")],
    "bad gzip": [reply(ZIPPED[:10] + b"\xff" * 20, "200 OK", "Content-Encoding: gzip")],
    "no gzip at all": [reply(body_of(record("sick")), "200 OK", "Content-Encoding: gzip")],
    "50,000 members": [reply(gzip.compress(b"") * 50_000, "200 OK", "Content-Encoding: gzip")],
    "unasked deflate": [reply(ZIPPED, "200 OK", "Content-Encoding: deflate")],
    "protocol switched": [b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"],
}
"""What is cut, or no HTTP, or cannot be decoded."""

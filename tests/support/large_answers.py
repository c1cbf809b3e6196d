"""Answers that are larger than any `max_body`, by name."""

from __future__ import annotations

import zlib
from collections.abc import AsyncGenerator, Callable
from functools import cache

from tests.support.raw_server import End, Play, Query, Step, reply

MIB = 1 << 20
_BLOCK = bytes(1 << 16)


def large_answers(mib: int) -> dict[str, Callable[[Query], Play]]:
    """Return what sends so many MiB, in each way in which a body may come."""
    blocks = mib * MIB // len(_BLOCK)

    async def by_length(_: Query) -> AsyncGenerator[Step, None]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks * len(_BLOCK))
        for _block in range(blocks):
            yield _BLOCK

    async def in_chunks(_: Query) -> AsyncGenerator[Step, None]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        for _block in range(blocks):
            yield b"%x\r\n%s\r\n" % (len(_BLOCK), _BLOCK)
        yield b"0\r\n\r\n"

    async def to_the_end(_: Query) -> AsyncGenerator[Step, None]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        for _block in range(blocks):
            yield _BLOCK
        yield End.CLOSE

    def zip_bomb(_: Query) -> Play:
        return [reply(_zipped(blocks), "200 OK", "Content-Encoding: gzip")]

    return {
        "zip bomb": zip_bomb,
        f"{mib} MiB by length": by_length,
        f"{mib} MiB in chunks": in_chunks,
        f"{mib} MiB to the end": to_the_end,
    }


@cache
def _zipped(blocks: int) -> bytes:
    zipper = zlib.compressobj(wbits=31)
    body = b"".join(zipper.compress(_BLOCK) for _ in range(blocks)) + zipper.flush()
    assert len(body) < blocks * len(_BLOCK) // 128
    return body

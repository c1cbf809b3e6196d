"""What is written first: a task per id that asks, and sleeps for a fixed time. For the demo.

It speaks HTTP by hand, to the loopback gateway alone, so that the command needs no other client.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ideogram_async._protocol.query import PATH, encode_query

SLEEP_SECONDS = 2.0
_LENGTH = re.compile(rb"content-length: (\d+)", re.IGNORECASE)


async def poll_naively(
    base_url: str, token: str, ids: Iterable[str], ended: Callable[[str], object]
) -> None:
    """Poll each id until it is complete or has failed, and report each end."""
    async with asyncio.TaskGroup() as tasks:
        for request_id in ids:
            tasks.create_task(_poll(base_url, token, request_id, ended))


async def _poll(base_url: str, token: str, request_id: str, ended: Callable[[str], object]) -> None:
    parts = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        while not await _has_ended(reader, writer, token, request_id):  # noqa: ASYNC110 - its way
            await asyncio.sleep(SLEEP_SECONDS)
        ended(request_id)
    finally:
        writer.close()


async def _has_ended(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, token: str, request_id: str
) -> bool:
    """Send one query; return whether its answer says that the request has ended."""
    body = encode_query(request_id)
    head = f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    answer_head = await reader.readuntil(b"\r\n\r\n")
    length = _LENGTH.search(answer_head)
    answer = await reader.readexactly(int(length[1]) if length else 0)
    if b" 200 " not in answer_head.split(b"\r\n", 1)[0]:
        return False  # refused: it sleeps as after any other answer
    record: dict[str, Any] = msgspec.json.decode(answer)["sampling_requests"][0]
    return bool(record["is_completed"] or record["is_errored"])

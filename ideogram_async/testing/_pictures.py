"""The images of completed requests: small valid PNGs, at the addresses that records lead to."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from hashlib import blake2b
from http import HTTPStatus

import msgspec
from aiohttp import web

from ._submissions import Submission

ASSETS = "/assets"
_PATHS = (
    f"{ASSETS}/image/lossless/response/",
    f"{ASSETS}/progressive-image/balanced/response/",
)
_SIDE = 16


class ImageQuery(msgspec.Struct, frozen=True):
    """A query for an image: the loop time of its arrival, and the status of its answer."""

    at: float
    path: str
    status: int
    headers: Mapping[str, str]


def picture(response_id: str) -> bytes:
    """Return the PNG of an image: 16 by 16 pixels, in a pattern that depends on its id."""
    digest = blake2b(response_id.encode(), digest_size=_SIDE * 2).digest()
    rows = b"".join(
        b"\x00" + b"".join(bytes((a, digest[x] ^ a, b)) for x in range(_SIDE))
        for a, b in zip(digest[:_SIDE], digest[_SIDE:], strict=True)
    )
    head = struct.pack(">IIBBBBB", _SIDE, _SIDE, 8, 2, 0, 0, 0)
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    crc = struct.pack(">I", zlib.crc32(kind + data))
    return struct.pack(">I", len(data)) + kind + data + crc


class Pictures:
    """Serves the images of requests."""

    def __init__(
        self, submissions: Mapping[str, Submission], clock: Callable[[], float], prefix: str
    ) -> None:
        self.queries: list[ImageQuery] = []
        self._submissions = submissions
        self._clock = clock
        self._prefix = prefix
        self._indexed = 0
        self._index: dict[str, Submission] = {}

    async def serve(self, request: web.BaseRequest, delay: float) -> web.StreamResponse:
        """Answer one query; an image exists from `delay` seconds after its request's end."""
        path = request.raw_path.removeprefix(self._prefix)
        response_id = next((path.removeprefix(one) for one in _PATHS if path.startswith(one)), "")
        exists = request.method == "GET" and self._exists(response_id, delay)
        status = HTTPStatus.OK if exists else HTTPStatus.NOT_FOUND
        self.queries.append(ImageQuery(self._clock(), path, status, request.headers))
        if exists:
            return web.Response(body=picture(response_id), content_type="image/png")
        return web.Response(status=status, text="not found")

    def _exists(self, response_id: str, delay: float) -> bool:
        for submission in list(self._submissions.values())[self._indexed :]:
            self._index |= dict.fromkeys(submission.response_ids(), submission)
        self._indexed = len(self._submissions)
        found = self._index.get(response_id)
        return found is not None and self._clock() >= found.completes_at + delay

"""A lane: one way of sending a query. Both return the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import Context
from typing import Any, Protocol

import aiohttp
import msgspec

Post = Callable[..., Any]
"""`ClientSession.post` to the gateway's address with one key's headers."""


class Release(Protocol):
    """Is called once, when the answer has been read."""

    def __call__(self, *, reusable: bool) -> None:
        """Keep the connection, or close it."""


class Response(msgspec.Struct):
    """An answer, whole unless it is larger than `max_body`."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    """Decoded; at least one byte more than `max_body` where the answer is larger."""
    release: Release


class Lane(Protocol):
    """Sends queries."""

    async def post(self, index: int, body: bytes, context: Context | None) -> Response:
        """Send a query with the key of that index, and return its answer.

        In the context, if any, is run what traces queries.
        """
        ...

    def close(self) -> None:
        """Keep nothing any more."""


class LaneError(Exception):
    """The lane cannot be used here, and nothing was sent."""


class DeadConnectionError(aiohttp.ServerDisconnectedError):
    """A reused connection died under its query: it may have been closed before the query came."""


class UnreadableError(aiohttp.ClientError):
    """What came could not be read as HTTP; `__cause__` is what the parser says."""

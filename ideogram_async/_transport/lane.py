"""A lane: one way of sending a query. Both return the same."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextvars import Context
from typing import Any, Protocol

import aiohttp

from ideogram_async._protocol.outcome import Answer, Fault

Post = Callable[..., Coroutine[Any, Any, aiohttp.ClientResponse]]
"""`ClientSession.post` to the gateway's address with one key's headers."""
Outcome = Answer | Fault
Read = Callable[[str, int, Mapping[str, str], bytes], Outcome]
"""Return what an answer says, by the id that was asked, its status, its headers and its body.

The body is decoded, and whole unless it is larger than `max_body`.
"""


class Lane(Protocol):
    """Sends queries."""

    def send(
        self, index: int, request_id: str, context: Context | None
    ) -> Awaitable[Outcome] | None:
        """Send a query with the key of that index, if that can be done without a new connection.

        In the context, if any, is run what traces queries.
        """
        ...

    def close_cancelled(self) -> None:
        """Close the connections of queries whose futures were cancelled."""

    async def post(
        self, index: int, request_id: str, context: Context | None, until: float
    ) -> Outcome:
        """Send a query with the key of that index, and return what it comes to.

        It is over by that time of the loop.
        """
        ...

    def close(self) -> None:
        """Keep nothing any more."""


class LaneError(Exception):
    """The lane cannot be used here, and nothing was sent."""


class DeadConnectionError(aiohttp.ServerDisconnectedError):
    """A reused connection died under its query: it may have been closed before the query came."""

    def __init__(self, until: float) -> None:
        super().__init__()
        self.until = until
        """The time of the loop by which the query is over, sent again or not."""


class UnreadableError(aiohttp.ClientError):
    """What came could not be read as HTTP; `__cause__` is what the parser says."""

"""What runs an ASGI application within the test's own loop, and its callers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

Message = MutableMapping[str, Any]
App = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class Caller:
    """One connection, which asks for one path and can be closed at any time."""

    def __init__(self, app: App, path: str) -> None:
        self.status: int | None = None
        self.body = b""
        self._asked = False
        self._gone = asyncio.Event()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},  # as uvicorn says
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": [],
        }
        self.task = asyncio.ensure_future(app(scope, self._receive, self._send))

    def close(self) -> None:
        """Close the connection."""
        self._gone.set()

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        else:
            self.body += message["body"]


@asynccontextmanager
async def started(app: App) -> AsyncIterator[None]:
    """Start an application up, and shut it down at the end of the block."""
    to_app: asyncio.Queue[Message] = asyncio.Queue()
    from_app: asyncio.Queue[Message] = asyncio.Queue()

    async def tell(kind: str) -> None:
        to_app.put_nowait({"type": f"lifespan.{kind}"})
        assert (await from_app.get())["type"] == f"lifespan.{kind}.complete"

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": {}}
    life = asyncio.ensure_future(app(scope, to_app.get, from_app.put))
    await tell("startup")
    try:
        yield
    finally:
        await tell("shutdown")
        await life

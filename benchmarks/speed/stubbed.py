"""Clients over a transport without HTTP, which `benchmarks.engine` compares."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

from benchmarks.speed.competitors import (
    Competitor,
    Drain,
    Target,
    as_completed,
    polling,
    retrieve_many,
    workers,
)
from benchmarks.speed.stub_transport import StubTransport, replace_transport
from ideogram_async._fleet.member import FleetMember
from ideogram_async._fleet.messages import Reply, Report
from ideogram_async._limits.found_rate import FoundRate

UNREACHED_RATE = 1e6
"""Queries per second: a rate that no query has to wait for."""


@asynccontextmanager
async def bare_workers(target: Target) -> AsyncIterator[Drain]:
    """Workers that only ask."""
    transport = StubTransport()

    async def ask(request_id: str) -> Any:
        answer: Any = await transport.query(0, request_id, None)
        return answer.record

    yield workers(ask, target.in_flight, lambda record: str(record.request_id))


@asynccontextmanager
async def _stubbed(
    opened: Callable[..., AbstractAsyncContextManager[Drain]],
    target: Target,
    limiter: Callable[[], Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Drain]:
    """Ours; `limiter` returns the one that it uses."""
    replace_transport()
    if limiter is not None:
        settings |= {"limiter": limiter(), "max_rate": None}
    async with opened(target, **settings) as drain:
        yield drain


def found_limiter() -> FoundRate:
    """Return the client's own limiter, once it has found a rate."""
    limiter = FoundRate()
    limiter.adopt(UNREACHED_RATE, "found", 0.0)
    return limiter


def shared_limiter() -> FleetMember:
    """Return the limiter of a fleet's only member, whose reports are answered at once."""
    return FleetMember(lambda _: _Link(), "the stub", None)


class _Link:
    """A connection of a member, which has all of the rate."""

    def __init__(self) -> None:
        self._sent = self._accepted = 0

    async def send(self, report: Report) -> Reply:
        """Return what the fleet makes of a report."""
        self._sent += report.sent
        self._accepted += report.accepted
        now = time.time()
        return Reply(
            rate=UNREACHED_RATE,
            source="found",
            held=0.0,
            probing=False,
            now=now,
            share=1.0,
            prospect=1.0,
            probe=False,
            leads=True,
            pending=0.0,
            sent=self._sent,
            accepted=self._accepted,
            newest=now - report.newest,
            pushed=0,
            members=1,
            heard=0,
        )

    async def leave(self, report: object) -> None:
        """Do nothing."""

    async def listen(self, hear: object) -> None:  # noqa: ARG002 - the protocol's
        """Hear nothing, until cancelled."""
        await asyncio.Event().wait()


def _ours(what: str, opened: Callable[..., Any], **settings: Any) -> Competitor:
    return Competitor(what, partial(_stubbed, opened, **settings))


STUBBED = {
    "stub_workers": Competitor("bare workers", bare_workers),
    "stub_retrieve_many": _ours("retrieve_many", retrieve_many),
    "stub_as_completed": _ours("as_completed", as_completed),
    "stub_polling": _ours("polling pending ids", polling),
    "stub_told": _ours("as_completed, a told rate", as_completed, max_rate=UNREACHED_RATE),
    "stub_found": _ours("as_completed, a found rate", as_completed, limiter=found_limiter),
    "stub_shared": _ours("as_completed, a shared rate", as_completed, limiter=shared_limiter),
}

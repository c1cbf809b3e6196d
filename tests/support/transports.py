"""A transport of its own, with no engine around it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ideogram_async._protocol.outcome import Answer, Fault
from ideogram_async._transport.transport import Transport
from tests.support.settings import settled


@asynccontextmanager
async def sending(
    url: str, replays: list[int] | None = None, **options: Any
) -> AsyncIterator[Transport]:
    transport = Transport(settled(url, **options), (replays if replays is not None else []).append)
    try:
        yield transport
    finally:
        await transport.close()


async def fault_of(url: str, request_id: str = "id", **options: Any) -> Fault:
    """Return what a query comes to that must fail."""
    async with sending(url, **options) as transport:
        outcome = await transport.query(0, request_id)
    assert isinstance(outcome, Fault)
    return outcome


async def percentage_of(transport: Transport, request_id: str, index: int = 0) -> float | None:
    """Return the progress in the answer to a query that must succeed."""
    outcome = await transport.query(index, request_id)
    assert isinstance(outcome, Answer), outcome
    assert outcome.record.request_id == request_id
    return outcome.record.completion_percentage

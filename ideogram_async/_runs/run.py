"""What the caller of a run holds: an async iterator that is a context manager, too."""

from __future__ import annotations

import warnings
from asyncio import AbstractEventLoop
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Generic, Protocol, Self, TypeVar

from ideogram_async._errors import RequestError
from ideogram_async._statistics import RunStatistics

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


class RunBackend(Protocol[T_co]):
    """What feeds a run. It never refers to the run, so that dropping that one can end it."""

    @property
    def loop(self) -> AbstractEventLoop:
        """Where it belongs."""
        raise NotImplementedError

    @property
    def failures(self) -> Sequence[RequestError]:
        """The errors so far."""
        raise NotImplementedError

    @property
    def finished(self) -> bool:
        """Whether nothing more will come, and all that came was yielded."""
        raise NotImplementedError

    def next(self) -> Awaitable[T_co]:
        """Wait for the next result; `StopAsyncIteration` at the end."""
        raise NotImplementedError

    def pending(self) -> tuple[str, ...]:
        """List the ids whose end was not yielded."""
        raise NotImplementedError

    def statistics(self) -> RunStatistics:
        """Give the figures."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop at once."""

    async def aclose(self) -> None:
        """Stop, and wait until that is done."""


class Run(Generic[T]):
    """Results of many ids, in the order in which they come.

    Iterate it once, either at once (`async for request in client.as_completed(ids)`), or bound
    to a name within its own block, which stops it at the block's end::

        async with client.as_completed(ids) as completed:
            async for request in completed: ...

    Leaving the loop of an unnamed run stops it, too. A named one goes on while it is held;
    dropped unfinished and unclosed it stops with a `ResourceWarning`. Cancelling a wait for the
    next result loses nothing. Several tasks may wait for results of one run: each goes to one.
    """

    def __init__(self, feed: RunBackend[T], client: object) -> None:
        self._feed = feed
        self._client = client  # held: a run outlives the name of its client
        self._hold = _Hold()

    def __repr__(self) -> str:
        figures = self.statistics()
        return f"<Run: {figures.yielded} yielded, {figures.pending} of {figures.taken} pending>"

    def __aiter__(self) -> RunIterator[T]:
        if self._hold.iterated:
            raise RuntimeError("a Run is iterated once: make another one for another pass")
        self._hold.iterated = self._hold.by_iterator = True
        return RunIterator(self._feed, self._client, self._hold)

    # A plain function: a coroutine's frame would keep the run alive through a traceback.
    def __anext__(self) -> Awaitable[T]:
        """Wait for the next result."""
        return self._feed.next()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Stop the polling of what nobody else awaits; `pending` then lists what was open."""
        await self._feed.aclose()

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids whose end has not been yielded, ready to be handed in again.

        Made anew at each look, in a time that grows with their number.
        """
        return self._feed.pending()

    @property
    def failures(self) -> tuple[RequestError, ...]:
        """The errors of the ids that have failed so far."""
        return tuple(self._feed.failures)

    def statistics(self) -> RunStatistics:
        """Give the figures of this run as they stand now."""
        return self._feed.statistics()

    def __del__(self) -> None:
        hold = getattr(self, "_hold", None)
        if hold is None:
            return
        hold.by_name = False
        if not hold.by_iterator and not self._feed.finished:
            warnings.warn(
                f"{self!r} was dropped unfinished: use `async with`, or `await run.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )
            _stop(self._feed)


class _Hold:
    """Who keeps a run going: the object that the call returned, or a loop's iterator alone."""

    __slots__ = ("by_iterator", "by_name", "iterated")

    def __init__(self) -> None:
        self.by_name: bool = True
        self.by_iterator: bool = False
        self.iterated: bool = False


class RunIterator(Generic[T]):
    """What a loop holds. Where the run has no name, the loop's end is the run's."""

    def __init__(self, feed: RunBackend[T], client: object, hold: _Hold) -> None:
        self._feed = feed
        self._client = client
        self._hold = hold

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Awaitable[T]:
        """Wait for the next result."""
        return self._feed.next()

    def __del__(self) -> None:
        self._hold.by_iterator = False
        if not self._hold.by_name and not self._feed.finished:
            _stop(self._feed)


def _stop(feed: RunBackend[T]) -> None:
    """Leave from wherever an object is dropped, be it another thread's garbage collection."""
    with suppress(RuntimeError):  # the loop is closed: nothing runs
        feed.loop.call_soon_threadsafe(feed.close)

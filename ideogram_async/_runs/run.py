"""What the caller of a run holds: an async iterator that is a context manager, too."""

from __future__ import annotations

import warnings
from collections.abc import Coroutine, Generator, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from ideogram_async._errors import RequestError
from ideogram_async._runs.run_state import RunState
from ideogram_async._statistics import RunStatistics

T = TypeVar("T")


class Run(Generic[T]):
    """Results of many ids, in the order in which they come.

    Iterate it once, either at once (`async for request in client.as_completed(ids)`), or bound
    to a name within its own block, which stops it at the block's end::

        async with client.as_completed(ids) as completed:
            async for request in completed: ...

    Leaving the loop of an unnamed run stops it, too, and so does the end of the wait in
    `await anext(client.as_completed(ids))`. A named run goes on while it is held; dropped
    unfinished and unclosed it stops with a `ResourceWarning`. Cancelling a wait for the next result
    loses nothing. Several tasks may wait for results of one run: each result goes to one of them.
    """

    def __init__(self, state: RunState[T], client: object) -> None:
        self._state = state
        self._client = client  # held: a run outlives the name of its client
        self._holders = _Holders()

    def __repr__(self) -> str:
        figures = self.statistics()
        return f"<Run: {figures.yielded} yielded, {figures.pending} of {figures.taken} pending>"

    def __aiter__(self) -> RunIterator[T]:
        if self._holders.iterated:
            raise RuntimeError("a Run is iterated once: make another one for another pass")
        self._holders.iterated = True
        return RunIterator(self._state, self._client, self._holders)

    def __anext__(self) -> Coroutine[Any, Any, T]:
        """Wait for the next result; the wait keeps the run going, as a loop over it does."""
        return RunIterator(self._state, self._client, self._holders).__anext__()

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
        await self._state.aclose()

    @property
    def pending(self) -> tuple[str, ...]:
        """The ids that were taken in and whose end has not been yielded.

        They can be handed in again, and so can `rest`, which was not taken in. Made anew at each
        look, in a time that grows with their number.
        """
        return self._state.pending()

    @property
    def rest(self) -> Iterator[str]:
        """The iterator over the ids that were not taken in yet: the caller's own, as it stands.

        A list of a few hundred ids is taken in by the call itself, a longer iterable little by
        little. What is drawn from `rest` the run does not get, so use it once the run was left:
        `[*run.pending, *run.rest]` is all that is open. Nothing in it was checked, and an id that
        is repeated in the iterable may come again. Empty for an async source.
        """
        return self._state.rest

    @property
    def failures(self) -> tuple[RequestError, ...]:
        """The errors of the ids that have failed so far.

        With `return_exceptions=True` it is (): each error is yielded and not kept, so that a run
        may be endless, and `statistics().failed` counts them. Without, the errors are kept until
        they are raised as one `PollingFailed`, some 1.6 KB each.
        """
        return tuple(self._state.results.failures)

    def statistics(self) -> RunStatistics:
        """Return the figures of this run as they stand now."""
        return self._state.statistics()

    def __del__(self) -> None:
        holders = getattr(self, "_holders", None)
        if holders is None:
            return
        holders.name = False
        if not holders.iterators and not self._state.results.exhausted:
            _stop(self._state)  # before the warning, which may be raised as an error
            warnings.warn(
                f"{self!r} was dropped unfinished: use `async with`, or `await run.aclose()`",
                ResourceWarning,
                stacklevel=2,
                source=self,
            )


class _Holders(msgspec.Struct):
    """What keeps a run going: the object that the call returned, loops over it, and waits."""

    name: bool = True
    iterators: int = 0
    iterated: bool = False


class RunIterator(Generic[T]):
    """What a loop holds, or a wait for one result.

    Where the run has no name, it stops at the end of the last of them.
    """

    def __init__(self, state: RunState[T], client: object, holders: _Holders) -> None:
        self._state = state
        self._client = client
        self._holders = holders
        holders.iterators += 1

    def __aiter__(self) -> Self:
        return self

    def __anext__(self) -> Coroutine[Any, Any, T]:
        """Wait for the next result; the wait keeps the run going."""
        return _Wait(self._state.results.next(), self)

    def __del__(self) -> None:
        holders = self._holders
        holders.iterators -= 1
        if not (holders.iterators or holders.name or self._state.results.exhausted):
            _stop(self._state)


class _Wait(Coroutine[Any, Any, T]):
    """A wait for one result. It keeps the run going until it ends, and no longer.

    The frame of a coroutine function would keep it for as long as a traceback is held, also where
    the wait was cancelled before its first step.
    """

    __slots__ = ("_coroutine", "_holder")

    def __init__(self, coroutine: Coroutine[Any, Any, T], holder: RunIterator[T]) -> None:
        self._coroutine = coroutine
        self._holder: RunIterator[T] | None = holder

    def send(self, value: Any) -> Any:
        """Go on; what is raised is the end."""
        try:
            return self._coroutine.send(value)
        except BaseException:
            self._holder = None
            raise

    def throw(self, *error: Any) -> Any:
        """Go on by an exception, as a cancellation does."""
        try:
            return self._coroutine.throw(*error)
        except BaseException:
            self._holder = None
            raise

    def close(self) -> None:
        """End without a result."""
        self._coroutine.close()
        self._holder = None

    def __getattr__(self, name: str) -> Any:
        """Return what tools look for at a coroutine: its name, its frame, its state."""
        return getattr(self._coroutine, name)

    def __await__(self) -> Generator[Any, Any, T]:
        return self  # pyright: ignore[reportReturnType] # an iterator, which `await` sends to

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Any:  # as `send`, without its call: twice for each result
        try:
            return self._coroutine.send(None)
        except BaseException:
            self._holder = None
            raise


def _stop(state: RunState[Any]) -> None:
    """Leave from wherever an object is dropped, be it another thread's garbage collection."""
    with suppress(RuntimeError):  # the loop is closed: nothing runs
        state.loop.call_soon_threadsafe(state.close)

"""What goes on in a run: its ids go in, are polled, and its results come out as they end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterable, Callable, Coroutine, Iterator
from typing import Any, Generic, Protocol, TypeVar

import anyio

from ideogram_async._config import CLOSE_SECONDS
from ideogram_async._errors import ClientClosed, RequestError, WaitTimeout
from ideogram_async._runs.id_source import IdSource
from ideogram_async._runs.ids import Ids, short_repr
from ideogram_async._runs.result_buffer import ResultBuffer
from ideogram_async._statistics import RunStatistics

T = TypeVar("T")

TakeIn = Callable[[], Coroutine[Any, Any, None]]
SHOWN_OF_BAD_ID = 100
"""Characters of the `repr` of an object that is no id."""


class RunBackend(Protocol):
    """What polls the ids of a run: the client that made it, or the shards of a cluster."""

    def enter(self, run: RunState[Any]) -> None:
        """Begin to work for a run: report to its `results`, and `end` it where no id can go on."""

    def poll(self, request_id: str, now: float, /) -> None:
        """Poll an id, from the next `wake` on."""

    def wake(self) -> None:
        """Begin with the ids that were added last."""

    def start(self, take_in: TakeIn | None) -> None:
        """Start polling, and beside it the task, if any, that takes in the other ids."""

    def open_ids(self) -> list[str]:
        """Return the ids that are being polled."""
        raise NotImplementedError

    def last_fault(self) -> RequestError | None:
        """Return what the open ids wait for, if that is known."""
        raise NotImplementedError

    def leave(self) -> list[str]:
        """Stop polling; return the ids that were open."""
        raise NotImplementedError

    async def aclose(self) -> None:
        """Wait until all of it has stopped, after `leave`."""


class RunState(Generic[T]):
    """A run: it connects its source of ids, what polls them, and the buffer of its results.

    It never refers to the `Run` that the caller holds, so that dropping that one can end it.
    """

    def __init__(
        self,
        ids: Ids,
        backend: RunBackend,
        *,
        wants_changes: bool = False,
        timeout: float | None = None,
        return_exceptions: bool = False,
        max_pending: int = 10_000,
        ended_well: str = "complete",
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.times_out_at: float = math.inf if timeout is None else self.loop.time() + timeout
        self._backend = backend
        self._return_exceptions = return_exceptions
        self._ended_well = ended_well
        self._left: list[str] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._source = IdSource(
            ids,
            max_pending=max_pending,
            accept=backend.poll,
            refuse=self._refuse,
            accepted=backend.wake,
        )
        self.results: ResultBuffer[T] = ResultBuffer(
            self.loop,
            wants_changes=wants_changes,
            return_exceptions=return_exceptions,
            release=self._source.release if isinstance(ids, AsyncIterable) else None,
            finished=self._finish,
        )
        self._start()

    def _start(self) -> None:
        """Accept the first ids, so that the call raises for a bad one; then start polling."""
        self._backend.enter(self)
        try:
            self._source.take_at_once()
        except BaseException:
            self._backend.leave()
            raise
        self._started = True
        if self.times_out_at < math.inf:
            self._timer = self.loop.call_at(self.times_out_at, self._time_out)
        self._backend.start(None if self._source.over else self._take_in)
        if self._source.over:
            self.results.expect(self._source.taken, self._source.error)

    # Ids in

    async def _take_in(self) -> None:
        await self._source.run()
        self.results.expect(self._source.taken, self._source.error)
        await self._source.forget()

    def _refuse(self, request_id: object, error: Exception) -> None:
        """Let a bad id fail alone; while the call goes on, let it raise."""
        if not self._started:
            raise error
        failure = RequestError(str(error))
        failure.request_id = (
            str.__str__(request_id)
            if isinstance(request_id, str)
            else short_repr(request_id, SHOWN_OF_BAD_ID)
        )
        if self._return_exceptions:
            self._source.occupy(failure)
        self.results.failed(failure, failure)  # under a key that no id can have

    # What the caller sees

    @property
    def rest(self) -> Iterator[str]:
        """The caller's iterable from where the run left it."""
        return self._source.rest

    def pending(self) -> tuple[str, ...]:
        """Return the ids that were taken in, and whose end the caller has not had."""
        if self._left is None:
            still_open = self._backend.open_ids()
        else:
            still_open = self._left + self._source.late
        return tuple(dict.fromkeys((*self.results.not_taken(), *still_open)))

    def statistics(self) -> RunStatistics:
        """Return the figures as they stand now."""
        return self.results.statistics(self._source.taken)

    # How it ends

    def end(self, error: Exception) -> None:
        """Stop: the caller has what is ready, then this error, which lists what was open."""
        if not (self.results.complete or self.results.exhausted):
            self._leave(error)

    def close(self) -> None:
        """Leave: nothing more is asked for this run alone, and nothing more is yielded."""
        if not self.results.exhausted:
            self.results.discard()
            self._leave(ClientClosed("the run was left before all of it was yielded"))

    async def aclose(self) -> None:
        """Leave, and wait a while until the caller's own source of ids is left, too."""
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the run belongs to another event loop")
        self.close()
        with anyio.move_on_after(CLOSE_SECONDS, shield=True):
            await self._source.left.wait()
            await self._backend.aclose()

    def _time_out(self) -> None:
        fault, figures = self._backend.last_fault(), self.statistics()
        words = "" if fault is None else f"; the last fault: {fault.args[0]}"
        error = WaitTimeout(
            f"{figures.completed} of {figures.taken} {self._ended_well} within the timeout{words}"
        )
        error.__cause__ = fault
        self.end(error)

    def _leave(self, error: Exception) -> None:
        self._left = self._backend.leave()
        self._source.stop()
        self._stop_timer()
        self.results.end(error, self.pending)

    def _finish(self) -> None:
        self._backend.leave()
        self._stop_timer()

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

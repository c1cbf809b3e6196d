"""What goes on in a run: its ids go in, its results come out as they end."""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import anyio

from ideogram_async._errors import (
    ClientClosed,
    IdeogramError,
    PollingFailed,
    RequestError,
    WaitTimeout,
)
from ideogram_async._models import SamplingRequest
from ideogram_async._polling.tracker import copied
from ideogram_async._runs.id_source import IdSource
from ideogram_async._runs.ids import check_id
from ideogram_async._statistics import RunStatistics

if TYPE_CHECKING:
    from ideogram_async._polling.dispatcher import Dispatcher
    from ideogram_async._polling.tracker import JobTracker
    from ideogram_async._runs.ids import Ids

T = TypeVar("T")

CLOSE_BUDGET = 5.0
"""Seconds that leaving may take where the caller's own source of ids lingers."""


class RunState(Generic[T]):
    """A subscriber to many ids; see `Subscriber` for what its fields mean.

    It never refers to the `Run` that the caller holds, so that dropping that one can end it.
    """

    urgent = False
    request_id = ""

    def __init__(
        self,
        ids: Ids,
        dispatcher: Dispatcher,
        tracker: JobTracker,
        *,
        is_one_shot: bool = False,
        wants_changes: bool = False,
        deadline: float | None = None,
        timeout: float | None = None,
        return_exceptions: bool = False,
        max_pending: int = 10_000,
        just_submitted: bool = False,
    ) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.is_one_shot = is_one_shot
        self.wants_changes = wants_changes
        self.deadline = deadline
        self.times_out_at: float = math.inf if timeout is None else self.loop.time() + timeout
        self.shared_ids: set[str] = set()
        self.failures: list[RequestError] = []
        self._dispatcher = dispatcher
        self._tracker = tracker
        self._return_exceptions = return_exceptions
        self._just_submitted = just_submitted
        self._taken = self._completed = self._yielded = 0
        self._ready: OrderedDict[str, Any] = OrderedDict()  # of T
        self._listeners: list[asyncio.Future[None]] = []
        self._ended: IdeogramError | None = None
        self._closed = False
        self._told = False
        self._left: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._started = False
        self._intake_over = asyncio.Event()
        self._intake = IdSource(
            ids,
            max_pending=max_pending,
            accept=self._accept,
            taken=dispatcher.wake,
            finished=self._taken_in,
        )
        self._start()

    def _start(self) -> None:
        """Take in the first ids, so that a bad one is told to the caller at once."""
        self._tracker.enter(self, self.loop.time())
        try:
            self._intake.first_slice()
        except BaseException:
            self._tracker.leave(self, self.loop.time())
            raise
        self._started = True
        if self.times_out_at < math.inf:
            self._timer = self.loop.call_at(self.times_out_at, self._time_out)
        if self._intake.over:
            self._taken_in()
        else:
            self._dispatcher.spawn(self._take_in, "ideogram_async intake")
        self._dispatcher.wake()

    # Ids in

    def _accept(self, request_id: object, now: float) -> None:
        """Have one id asked. Once the call has returned, a bad id fails alone."""
        try:
            checked = check_id(request_id)
        except (TypeError, ValueError) as error:
            if not self._started:
                raise
            self._taken += 1
            failure = RequestError(str(error))
            failure.request_id = request_id if isinstance(request_id, str) else None
            self.failed(repr(request_id), failure)
            return
        self._taken += 1
        self._tracker.subscribe(self, checked, now, just_submitted=self._just_submitted)

    async def _take_in(self) -> None:
        try:
            await self._intake.run()
        finally:
            self._intake_over.set()  # also where the engine was stopped

    def _taken_in(self) -> None:
        self._intake_over.set()
        self._check_done()

    # Results out

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        """Take a state that is not the last; what the caller has not had yet, it replaces."""
        if self._ended is None:
            self._put(request_id, record)

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        """Take the record that ends an id well."""
        if self._ended is not None:
            return
        self._completed += 1
        self._put(request_id, record)
        self._check_done()

    def failed(self, request_id: str, error: RequestError) -> None:
        """Take the error that ends an id."""
        if self._ended is not None:
            return
        self.failures.append(error)
        if self._return_exceptions:
            self._put(request_id, error)
        else:
            self._intake.forget(request_id)
        self._check_done()

    def end(self, error: IdeogramError) -> None:
        """Stop: the caller has what is ready, then this error, which lists what was open."""
        if not self.finished:
            self._leave(error)

    async def next(self) -> T:
        """Wait for the next result. Cancelling it loses nothing."""
        self._check_place()
        while not self._ready or self._closed:
            if self._ended is not None:
                raise self._end_for_one(self._ended)
            if self._done:
                raise self._conclusion()
            await self._news()
        result: T
        request_id, result = self._ready.popitem(last=False)
        self._yielded += 1
        self._intake.forget(request_id)
        return result

    def close(self) -> None:
        """Leave: nothing more is asked for this run alone."""
        if not self.finished:
            self._closed = True
            self._leave(ClientClosed("the run was left before all of it was yielded"))

    async def aclose(self) -> None:
        """Leave, and wait until the caller's own source of ids is left, too."""
        self._check_place()
        self.close()
        with anyio.move_on_after(CLOSE_BUDGET, shield=True):
            await self._intake_over.wait()

    @property
    def finished(self) -> bool:
        """Whether nothing more will come, and all that came was yielded."""
        return self._ended is not None or (self._done and not self._ready)

    def pending(self) -> tuple[str, ...]:
        """List the ids whose end the caller has not had."""
        left = self._open_ids() if self._ended is None else (*self._left, *self._intake.late)
        results = self._ready.items()
        unheard = (name for name, result in results if self._is_end(result))
        return tuple(dict.fromkeys((*unheard, *left)))

    def _is_end(self, result: object) -> bool:
        """Tell whether a result ends an id well: after a mere change it is open, or has failed."""
        return isinstance(result, SamplingRequest) and (self.is_one_shot or result.is_complete)

    def statistics(self) -> RunStatistics:
        """Give the figures of this run."""
        return RunStatistics(
            taken=self._taken,
            pending=self._taken - self._completed - len(self.failures),
            completed=self._completed,
            failed=len(self.failures),
            yielded=self._yielded,
        )

    def _check_place(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the run belongs to another event loop")

    # How it ends

    @property
    def _done(self) -> bool:
        return self._intake.over and self._taken == self._completed + len(self.failures)

    def _check_done(self) -> None:
        if self._done and self._started:
            self._tracker.leave(self, self.loop.time())
            self._stop_timer()
            self._wake()

    def _conclusion(self) -> Exception:
        """Say how a run ends that was not left: well, with its failures, or its source's error."""
        failed: PollingFailed | None = None
        if self.failures and not self._return_exceptions and not self._told:
            count, taken = len(self.failures), self._taken
            failed = PollingFailed(f"{count} of {taken} requests failed", tuple(self.failures))
        source_error = None if self._told else self._intake.error
        self._told = True
        if source_error is not None:
            source_error.__cause__ = source_error.__cause__ or failed
            return source_error
        return failed or StopAsyncIteration()

    def _end_for_one(self, ended: IdeogramError) -> IdeogramError:
        """Give a caller its error; what was open is listed here, for few ask and it may be long."""
        error: IdeogramError = copied(ended)
        error.pending = (*self._left, *self._intake.late)
        return error

    def _time_out(self) -> None:
        self.end(WaitTimeout("the run has not ended within its timeout"))

    def _leave(self, error: IdeogramError) -> None:
        self._left = self._tracker.leave(self, self.loop.time())
        self._dispatcher.clean_up()
        self._left += self._intake.rest()
        self._intake.stop()
        self._stop_timer()
        self._ended = error
        self._wake()

    def _open_ids(self) -> list[str]:
        return [*self._tracker.open_ids(self), *self._intake.rest()]

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    # News

    def _put(self, request_id: str, result: object) -> None:
        self._ready[request_id] = result
        self._wake()

    def _wake(self) -> None:
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)

    async def _news(self) -> None:
        listener: asyncio.Future[None] = self.loop.create_future()
        self._listeners.append(listener)
        try:
            await listener
        finally:
            self._listeners.remove(listener)

"""The results of a run, from the ends of its ids until the caller takes them."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from ideogram_async._errors import IdeogramError, PollingFailed, RequestError
from ideogram_async._models import SamplingRequest
from ideogram_async._polling.tracker import copied
from ideogram_async._statistics import RunStatistics

T = TypeVar("T")


class ResultBuffer(Generic[T]):
    """The results that the caller has not taken yet, and how the run concludes.

    `changed`, `completed` and `failed` are called as ids go on and end, once for each end. The
    latest result of an id replaces one that was not taken. `release` is called with each id that
    has ended and of which nothing waits any more, `finished` once, when all ids have ended.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        wants_changes: bool,
        return_exceptions: bool,
        release: Callable[[object], None] | None,
        finished: Callable[[], None],
    ) -> None:
        self.failures: list[RequestError] = []
        """What is raised at the end; empty where errors are yielded instead."""
        self._loop = loop
        self._wants_changes = wants_changes
        self._return_exceptions = return_exceptions
        self._release = release
        self._finished = finished
        self._ready: OrderedDict[object, Any] = OrderedDict()  # of T
        self._failed_before_taken: set[object] = set()
        self._change = asyncio.Event()
        """Is set when something changes; whoever waits for it clears it first."""
        self._ended = self._failed = self._yielded = 0
        self._expected: int | None = None
        self._source_error: Exception | None = None
        self._early_end: Exception | None = None
        self._pending: Callable[[], tuple[str, ...]] = tuple
        self._discarded = False
        self._concluded = False

    # Results in

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        """Keep a state that is not the last."""
        if self._early_end is None:
            self._ready[request_id] = record
            self._change.set()

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        """Keep the record that ends an id well."""
        if self._early_end is not None:
            return
        self._ready[request_id] = record
        self._ended += 1
        if self._ended == self._expected:
            self._finished()
        self._change.set()

    def failed(self, request_id: object, error: RequestError) -> None:
        """Keep the error that ends an id: to yield it, or to raise it at the end."""
        if self._early_end is not None:
            return
        if self._return_exceptions:
            self._ready[request_id] = error
        else:
            self.failures.append(error)
            if self._release is not None:
                if request_id in self._ready:  # a change of it, which the caller will have first
                    self._failed_before_taken.add(request_id)
                else:
                    self._release(request_id)
        self._failed += 1
        self._ended += 1
        if self._ended == self._expected:
            self._finished()
        self._change.set()

    # How it ends

    def expect(self, taken: int, source_error: Exception | None) -> None:
        """Let the run end when so many ids have ended: the source is over."""
        self._expected, self._source_error = taken, source_error
        if self.complete and self._early_end is None:
            self._finished()
        self._change.set()

    def end(self, error: Exception, pending: Callable[[], tuple[str, ...]]) -> None:
        """Raise this error once what is ready is taken; `pending` lists the ids that are open."""
        self._early_end, self._pending = error, pending
        self._change.set()

    def discard(self) -> None:
        """Yield no more; what is ready counts as not taken."""
        self._discarded = True

    @property
    def complete(self) -> bool:
        """Whether the source is over, and all its ids have ended."""
        return self._ended == self._expected

    @property
    def exhausted(self) -> bool:
        """Whether nothing more will come, and all that came was taken."""
        return self._early_end is not None or (self.complete and not self._ready)

    # Results out

    async def next(self) -> T:
        """Wait for the next result. Cancelling the wait loses nothing."""
        if asyncio.get_running_loop() is not self._loop:
            raise RuntimeError("the run belongs to another event loop")
        while not self._ready or self._discarded:
            if self._early_end is not None or self.complete:
                raise self._conclusion()
            self._change.clear()
            await self._change.wait()
        result: T
        request_id, result = self._ready.popitem(last=False)
        self._yielded += 1
        if self._release is not None and self._is_over(request_id, result):
            self._release(request_id)
        return result

    def not_taken(self) -> Iterator[str]:
        """Return the ids that have ended, and whose last result the caller has not taken."""
        for request_id, result in self._ready.items():
            if isinstance(request_id, str) and self._is_last(result):
                yield request_id

    def statistics(self, taken: int) -> RunStatistics:
        """Return the figures of a run that has taken in so many ids."""
        return RunStatistics(
            taken=taken,
            pending=taken - self._ended,
            completed=self._ended - self._failed,
            failed=self._failed,
            yielded=self._yielded,
        )

    def _is_last(self, result: Any) -> bool:
        """Return whether a result ends its id: after a mere change the id is open, or failed."""
        if isinstance(result, RequestError):
            return True
        return not self._wants_changes or bool(result.is_complete)

    def _is_over(self, request_id: object, result: Any) -> bool:
        """Return whether nothing more can come of an id whose result was taken just now."""
        if request_id in self._failed_before_taken:
            self._failed_before_taken.discard(request_id)
            return True
        return self._is_last(result)

    def _conclusion(self) -> Exception:
        """Return what the caller gets in place of another result.

        1. The run was ended early: the error that ended it, `pending` listed in it. Each caller
           has a copy of its own, so that tracebacks do not mix.
        2. The source of ids has raised: its error, once; failures of ids are its cause.
        3. Ids have failed: their errors as one `PollingFailed`, once.
        4. All went well, or case 2 or 3 was raised before.
        """
        if self._early_end is not None:
            return self._copy_of(self._early_end)
        if self._concluded:
            return StopAsyncIteration()
        self._concluded = True
        failed: PollingFailed | None = None
        if self.failures:
            message = f"{len(self.failures)} of {self._expected} requests failed"
            failed = PollingFailed(message, tuple(self.failures))
        if self._source_error is not None:
            self._source_error.__cause__ = self._source_error.__cause__ or failed
            return self._source_error
        return failed or StopAsyncIteration()

    def _copy_of(self, error: Exception) -> Exception:
        if not isinstance(error, IdeogramError):
            return error
        copy: IdeogramError = copied(error)
        copy.pending = self._pending()
        return copy

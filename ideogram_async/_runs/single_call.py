"""A call for one id, from its start until its one result."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import Context, copy_context

from ideogram_async._errors import IdeogramError, RequestError, WaitTimeout
from ideogram_async._models import SamplingRequest


class SingleCall:
    """A subscriber to one id; see `Subscriber` for what its fields mean."""

    urgent = True
    wants_changes = True

    def __init__(
        self,
        request_id: str,
        *,
        is_one_shot: bool,
        deadline: float | None,
        until: float,
        last_fault: Callable[[SingleCall], RequestError | None],
    ) -> None:
        self.request_id = request_id
        self.is_one_shot = is_one_shot
        self.deadline = deadline
        self.times_out_at = until
        self.shared_ids: set[str] = set()
        self.context: Context = copy_context()
        self._last_fault = last_fault
        self._record: SamplingRequest | None = None
        self._loop = asyncio.get_running_loop()
        self._result: asyncio.Future[SamplingRequest] = self._loop.create_future()

    async def result(self) -> SamplingRequest:
        """Wait for the record; raise what ended the id, or the call."""
        timer = None
        if self.times_out_at < math.inf:
            timer = self._loop.call_at(self.times_out_at, self._time_out)
        try:
            return await self._result
        finally:
            if timer is not None:
                timer.cancel()
            if not self._result.cancelled():
                self._result.exception()  # a caller cancelled at this moment never looks at it

    def changed(self, request_id: str, record: SamplingRequest) -> None:  # noqa: ARG002 - its own
        """Keep the last record, for an error that ends the call."""
        self._record = record

    def completed(self, request_id: str, record: SamplingRequest) -> None:  # noqa: ARG002 - its own
        """Set the record as the result."""
        if not self._result.done():
            self._result.set_result(record)

    def failed(self, request_id: str, error: IdeogramError) -> None:  # noqa: ARG002 - its own
        """Set the error as the result."""
        if not self._result.done():
            self._result.set_exception(error)

    def end(self, error: IdeogramError) -> None:
        """Set the error that ends the call before the id has ended."""
        error.request_id = self.request_id
        error.request = self._record
        error.pending = (self.request_id,)
        self.failed(self.request_id, error)

    def _time_out(self) -> None:
        fault = self._last_fault(self)
        words = "" if fault is None else f"; the last fault: {fault.args[0]}"
        error = WaitTimeout(f"request {self.request_id!r} has not ended within the timeout{words}")
        error.__cause__ = fault
        self.end(error)

"""The requests that the gateway holds, and its clock."""

from __future__ import annotations

import asyncio
import math
import random
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from ._submissions import Submission, make_id

if TYPE_CHECKING:
    from ._progress import ProgressFunction, ProgressKind

__all__ = ["Requests"]

# Seconds from submission to completion, as they were seen, by sampling speed.
_TYPICAL = {2: (3.0, 8.0), 0: (8.0, 15.0), -2: (11.0, 25.0)}
_TYPICAL_UPSCALE = (30.0, 72.0)


class Requests:
    """Image requests, their records as functions of time, and the server's time."""

    def __init__(self, *, epoch: float, clock_offset: float, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch - self._loop.time()
        self.clock_offset = clock_offset
        self.submissions: dict[str, Submission] = {}
        self._ids = random.Random(seed)  # noqa: S311
        self._date = (math.nan, "")

    def now(self) -> float:
        """Return the server's Unix time: of the Date header and of every record."""
        return self._server_time(self._loop.time())

    def _server_time(self, loop_time: float) -> float:
        return self._epoch + self.clock_offset + loop_time

    def submit(
        self,
        *,
        duration: float | None = None,
        queue: float = 0.0,
        progress: ProgressKind | ProgressFunction = "text",
        request_id: str | None = None,
        submitted: float | None = None,
        visible_after: float = 0.0,
        model_version: str = "V_3_0",
        request_type: str | None = None,
        sampling_speed: int = 0,
        prompt: str = "a lighthouse at dawn",
        images: int = 1,
        errored: bool = False,
    ) -> str:
        """
        Submit a request and return its id.

        It takes `queue` seconds of waiting and `duration` of work, from the loop time
        `submitted`, which may be in the past. Without a duration one is drawn that
        is typical of the kind. Until `visible_after` seconds the id is unknown.
        """
        request_type = request_type or ("SUPER_RES" if progress == "stuck" else "TEXT_TO_IMAGE")
        since = self._loop.time() if submitted is None else submitted
        drawn = self._typical(request_type, sampling_speed)
        submission = Submission(
            request_id=request_id or make_id(self._ids.randbytes(16)),
            submitted=since,
            queue=queue,
            duration=drawn if duration is None else duration,
            progress=progress,
            creation_time=self._server_time(since),
            visible_at=since + visible_after,
            model_version=model_version,
            request_type=request_type,
            sampling_speed=sampling_speed,
            prompt=prompt,
            images=images,
            errored=errored,
            seed=self._ids.getrandbits(31),
        )
        self.submissions[submission.request_id] = submission
        return submission.request_id

    def _typical(self, request_type: str, sampling_speed: int) -> float:
        upscale = request_type == "SUPER_RES"
        times = _TYPICAL_UPSCALE if upscale else _TYPICAL.get(sampling_speed, _TYPICAL[0])
        return self._ids.uniform(*times)

    def record(self, request_id: str) -> dict[str, Any]:
        """Return the record of a request, as it would be answered now."""
        return self.submissions[request_id].record(self._loop.time())

    def completes_at(self, request_id: str) -> float:
        """Return the loop time at which a request ends; inf if never."""
        return self.submissions[request_id].completes_at

    def _document(self, request_id: str | None) -> dict[str, Any] | None:
        submission = self.submissions.get(request_id or "")
        now = self._loop.time()
        if submission is None or now < submission.visible_at:
            return None
        return {"sampling_requests": [submission.record(now)]}

    def _http_date(self) -> str:
        second = self.now() // 1
        if second != self._date[0]:
            self._date = second, formatdate(second, usegmt=True)
        return self._date[1]

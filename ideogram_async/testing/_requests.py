"""The requests that the gateway holds, and its clock."""

from __future__ import annotations

import asyncio
import math
import random
from email.utils import formatdate
from typing import Any, TypedDict

from ._progress import KINDS, ProgressFunction, ProgressKind
from ._submissions import ASSETS_URL, Submission, make_id

_TYPICAL_SECONDS = {2: (3.0, 8.0), 0: (8.0, 15.0), -2: (11.0, 25.0)}
"""Seconds from submission to completion by sampling speed (seen)."""
_TYPICAL_UPSCALE_SECONDS = (30.0, 72.0)
"""The same for upscales (seen)."""


class RequestOptions(TypedDict, total=False):
    """The options of a request; `Gateway.submit` describes them."""

    duration: float | None
    queue: float
    progress: ProgressKind | ProgressFunction
    request_id: str | None
    submitted: float | None
    visible_after: float
    model_version: str
    request_type: str | None
    sampling_speed: int
    prompt: str
    images: int
    errored: bool
    assets_url: str


class Requests:
    """Image requests, their records as functions of time, and the server's time."""

    def __init__(self, *, epoch: float, clock_offset: float, seed: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._epoch = epoch - self._loop.time()
        self.clock_offset = clock_offset
        self.submissions: dict[str, Submission] = {}
        self._ids = random.Random(seed)  # noqa: S311 - repeatable, no secret
        self._date = (math.nan, "")

    def now(self) -> float:
        """Return the server's time: seconds of Unix time."""
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
        assets_url: str = ASSETS_URL,
    ) -> str:
        """Add a request, and return its id."""
        if not callable(progress) and progress not in KINDS:
            kinds = ", ".join(KINDS)
            raise ValueError(f"progress is {progress!r}: expected a function, or one of {kinds}")
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
            assets_url=assets_url,
            seed=self._ids.getrandbits(31),
        )
        self.submissions[submission.request_id] = submission
        return submission.request_id

    def _typical(self, request_type: str, sampling_speed: int) -> float:
        """Draw a duration that is typical of the kind."""
        if request_type == "SUPER_RES":
            return self._ids.uniform(*_TYPICAL_UPSCALE_SECONDS)
        return self._ids.uniform(*_TYPICAL_SECONDS.get(sampling_speed, _TYPICAL_SECONDS[0]))

    def document(self, request_id: str | None) -> dict[str, Any] | None:
        """Return the document of a good answer, or None for an id that is unknown, or not yet."""
        submission = self.submissions.get(request_id or "")
        now = self._loop.time()
        if submission is None or now < submission.visible_at:
            return None
        return {"sampling_requests": [submission.record(now)]}

    def http_date(self) -> str:
        """Return the server's time as a `Date` header."""
        second = self.now() // 1
        if second != self._date[0]:
            self._date = second, formatdate(second, usegmt=True)
        return self._date[1]

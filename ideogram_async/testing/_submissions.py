"""One image request at the gateway, and its record as a function of time."""

from __future__ import annotations

import base64
import math
from hashlib import blake2b
from typing import Any

import msgspec

from ._progress import KINDS, Progress, ProgressFunction, ProgressKind

ASSETS_URL = "https://ideogram.ai/assets"
_BALANCED = "/progressive-image/balanced/response/"


def make_id(data: bytes) -> str:
    """Return 16 bytes as 22 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


class Submission(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """
    A request at its submission.

    `submitted` and `completes_at` are loop times; `queue` and `duration` are seconds.
    """

    request_id: str
    submitted: float
    queue: float
    duration: float
    progress: ProgressKind | ProgressFunction
    creation_time: float
    visible_at: float
    model_version: str
    request_type: str
    sampling_speed: int
    prompt: str
    images: int
    errored: bool
    assets_url: str
    seed: int

    @property
    def completes_at(self) -> float:
        """The loop time at which the request completes or fails, or inf if it never does."""
        if self.progress == "never":
            return math.inf
        return self.submitted + self.queue + self.duration

    def told(self, now: float) -> Progress:
        """Return the progress that a record shows at a loop time."""
        kind = self.progress
        function = KINDS[kind] if isinstance(kind, str) else kind
        told = function(self._elapsed(now), self.queue, self.duration)
        return told._replace(is_errored=True) if self.errored and told.ended else told

    def _elapsed(self, now: float) -> float:
        """Return the seconds since the submission.

        Rounding must not move them across the request's end.
        """
        elapsed, total = max(0.0, now - self.submitted), self.queue + self.duration
        if self.progress == "never":
            return elapsed
        if now >= self.completes_at:
            return max(elapsed, total)
        return min(elapsed, math.nextafter(total, 0.0))

    def record(self, now: float) -> dict[str, Any]:
        """Return the record that is answered at a loop time."""
        progress = self.told(now)
        record = self._steady() | {
            "can_upscale": progress.ended,
            "has_started": progress.has_started,
            "is_completed": progress.is_completed,
            "is_errored": progress.is_errored,
            "responses": [],
        }
        if progress.percentage is not None:
            record["completion_percentage"] = progress.percentage
        if progress.ended:
            record |= self._ended()
        return record

    def _steady(self) -> dict[str, Any]:
        return {
            "aspect_ratio": "1:1",
            "creation_time_float": self.creation_time,
            "expected_number_of_final_responses": self.images,
            "image_resolution": "RESOLUTION_1024_1024",
            "model_uri": f"model/{self.model_version}/version/0",
            "model_version": self.model_version,
            "private": True,
            "request_id": self.request_id,
            "request_type": self.request_type,
            "sampling_speed": self.sampling_speed,
            "seed": self.seed,
            "user": {
                "badge": None,
                "display_handle": "example",
                "photo_url": "https://images.example/photo=s96-c",
                "subscription_plan_id": None,
                "user_id": "AAAAAAAAAAAAAAAAAAAAAA",
            },
            "user_hparams": {"aspect_ratio": "1:1"},
            "user_negative_prompt": "",
            "user_prompt": self.prompt,
        }

    def response_ids(self) -> list[str]:
        """Return the ids of the images that the request ends with."""
        if self.errored or self.progress in {"errored", "moderated", "never"}:
            return []
        names = [f"{self.request_id} {index}".encode() for index in range(self.images)]
        return [make_id(blake2b(name, digest_size=16).digest()) for name in names]

    def _ended(self) -> dict[str, Any]:
        ids = self.response_ids()
        responses = [self._response(one, cover=one == ids[0]) for one in ids]
        ended = {"height": 1024, "resolution": 1024, "width": 1024, "responses": responses}
        return ended | {"cover_response_id": ids[0]} if ids else ended

    def _response(self, response_id: str, *, cover: bool) -> dict[str, Any]:
        response = {
            "cover": cover,
            "descriptions": [],
            "highest_fidelity": cover,
            "is_autoprompt": True,
            "num_likes": 0,
            "num_remixes": 0,
            "prompt": self.prompt,
            "response_id": response_id,
            "self_like": False,
        }
        if cover:
            response["image_url"] = self.assets_url + _BALANCED + response_id
        return response

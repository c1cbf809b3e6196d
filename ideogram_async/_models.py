"""The records of the wire as frozen structs: every field optional, unknown keys ignored.

Field names are the wire's own. Facts about them rest on the gateways' two API documents
("documented") or on captured traffic ("seen").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

ASSETS_URL = "https://ideogram.ai/assets"
"""What the address of every image that derives from an id starts with (documented)."""
_DONE = 100
_LARGEST = sys.float_info.max


class User(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """Who submitted a request (documented)."""

    user_id: str | None = None
    display_handle: str | None = None
    photo_url: str | None = None
    badge: str | None = None
    """Null or a string (seen)."""
    subscription_plan_id: str | None = None
    """Null or a string (seen)."""


class SamplingResponse(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One image of a completed request (documented)."""

    response_id: str | None = None
    prompt: str | None = None
    cover: bool | None = None
    descriptions: tuple[str, ...] | None = None
    highest_fidelity: bool | None = None
    is_autoprompt: bool | None = None
    num_likes: int | None = None
    num_remixes: int | None = None
    """Gone from newer records (seen)."""
    self_like: bool | None = None
    image_url: str | None = None
    """On the cover alone (documented), and in newer records on none (seen). Use `url`."""

    @property
    def url(self) -> str | None:
        """Where the image is served: `image_url`, else derived from `response_id` (documented).

        A fresh image can answer 404 for some seconds (seen).
        """
        return self.image_url or self._derived("progressive-image/balanced")

    @property
    def lossless_url(self) -> str | None:
        """Where the lossless image is served, derived from `response_id` (seen).

        An 8K image weighs 82 MB (seen); take its type from the Content-Type.
        """
        return self._derived("image/lossless")

    def _derived(self, quality: str) -> str | None:
        if not self.response_id:
            return None
        name = quote(self.response_id, safe="", errors="replace")
        return f"{ASSETS_URL}/{quality}/response/{name}"


class SamplingRequest(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The state of one image request, as the gateway told it (documented, unless marked)."""

    request_id: str | None = None
    completion_percentage: int | float | None = None
    """0 to 100. It may fall, and 99 is no promise (seen). Use `is_complete`."""
    is_completed: bool | None = None
    is_errored: bool | None = None
    """Whether the request failed; absent from older records (seen)."""
    has_started: bool | None = None
    creation_time_float: float | None = None
    """When it was submitted, seconds of Unix time on the server's clock."""
    responses: tuple[SamplingResponse, ...] = ()
    """The images; empty until the answer that tells completion (seen)."""
    cover_response_id: str | None = None
    request_type: str | None = None
    """TEXT_TO_IMAGE, SUPER_RES, … (seen); not a closed list."""
    model_version: str | None = None
    """V_0_2 … V_4_0, EXTERNAL_MODEL (seen); not a closed list."""
    model_uri: str | None = None
    """Newer records (seen)."""
    sampling_speed: int | None = None
    """2 turbo, 0 default, -2 quality (seen); not a closed list."""
    seed: int | None = None
    aspect_ratio: str | None = None
    resolution: int | None = None
    """Absent while the request is running, as are `width` and `height` (seen)."""
    image_resolution: int | str | None = None
    """Newer records (seen); its type is not documented."""
    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    can_upscale: bool | None = None
    private: bool | None = None
    expected_number_of_final_responses: int | None = None
    """Newer records (seen)."""
    user: User | None = None
    user_prompt: str | None = None
    """May be empty (seen)."""
    user_negative_prompt: str | None = None
    """Newer records (seen)."""
    user_hparams: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the gateway says that it is done: a finite percentage ≥ 100, or `is_completed`.

        A request that is done without images, or that has failed (`is_errored`), may be complete.
        """
        percentage = self.completion_percentage
        if percentage is not None and _DONE <= percentage <= _LARGEST:
            return True
        return self.is_completed is True

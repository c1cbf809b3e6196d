"""The records of the wire as frozen structs. Every field is optional; unknown keys are ignored.

The field names are those of the wire. Facts come from the gateways' two API documents
("documented") or from captured traffic ("seen").
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import msgspec

ASSETS_URL = "https://ideogram.ai/assets"
"""The start of every image address that is derived from an id (documented)."""
_DONE = 100
_LARGEST = sys.float_info.max


class _Record(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What every record can be made into. Fields with their default value are left out."""

    def to_json(self) -> str:
        """Return the record as a JSON object, with the names of the wire."""
        return msgspec.json.encode(self).decode()

    def to_dict(self) -> dict[str, Any]:
        """Return the record as `to_json` does, as a dict of plain values."""
        return msgspec.json.decode(msgspec.json.encode(self), type=dict[str, Any])

    @property
    def __dict__(self) -> dict[str, Any]:  # type: ignore[override]
        """The record as a dict: `vars` and FastAPI look for it."""
        return self.to_dict()

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: object, _handler: object) -> dict[str, Any]:
        """Let pydantic, and so FastAPI, take a record as it is, and write it as a dict."""
        written = {
            "type": "function-plain",
            "function": cls.to_dict,
            "return_schema": {"type": "dict"},
        }
        return {"type": "is-instance", "cls": cls, "serialization": written}


class User(_Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The user that submitted a request (documented)."""

    user_id: str | None = None
    display_handle: str | None = None
    photo_url: str | None = None
    badge: str | None = None
    """A string or null (seen)."""
    subscription_plan_id: str | None = None
    """A string or null (seen)."""


class SamplingResponse(_Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One image of a completed request (documented)."""

    response_id: str | None = None
    prompt: str | None = None
    cover: bool | None = None
    descriptions: tuple[str, ...] | None = None
    highest_fidelity: bool | None = None
    is_autoprompt: bool | None = None
    num_likes: int | None = None
    num_remixes: int | None = None
    """Missing from newer records (seen)."""
    self_like: bool | None = None
    image_url: str | None = None
    """Set on the cover only (documented); on no image in newer records (seen). Use `url`."""

    @property
    def url(self) -> str | None:
        """The image's address: `image_url`, or derived from `response_id` (documented).

        A new image can answer 404 for some seconds (seen).
        """
        return self.image_url or self._derived("progressive-image/balanced")

    @property
    def lossless_url(self) -> str | None:
        """The lossless image's address, derived from `response_id` (seen).

        An 8K image has 82 MB (seen). Its type is in the answer's Content-Type.
        """
        return self._derived("image/lossless")

    def _derived(self, quality: str) -> str | None:
        if not self.response_id:
            return None
        name = quote(self.response_id, safe="", errors="replace")
        return f"{ASSETS_URL}/{quality}/response/{name}"


class SamplingRequest(_Record, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """The state of one image request, as the gateway answered it (documented, unless marked)."""

    request_id: str = ""
    """The id. What the client returns has the one that was asked for, and never ""."""
    completion_percentage: int | float | None = None
    """0 to 100. It can fall, and it can stay at 99 for a minute (seen). Use `is_complete`."""
    is_completed: bool | None = None
    is_errored: bool | None = None
    """Whether the request failed. Missing from older records (seen)."""
    has_started: bool | None = None
    creation_time_float: float | None = None
    """Time of the submission: seconds of Unix time, on the server's clock."""
    responses: tuple[SamplingResponse, ...] = ()
    """The images. Empty until the answer that shows completion (seen)."""
    cover_response_id: str | None = None
    request_type: str | None = None
    """TEXT_TO_IMAGE, SUPER_RES, … (seen). Other values are possible."""
    model_version: str | None = None
    """V_0_2 … V_4_0, EXTERNAL_MODEL (seen). Other values are possible."""
    model_uri: str | None = None
    """In newer records only (seen)."""
    sampling_speed: int | None = None
    """2 turbo, 0 default, -2 quality (seen). Other values are possible."""
    seed: int | None = None
    aspect_ratio: str | None = None
    resolution: int | None = None
    """Missing while the request is running, as are `width` and `height` (seen)."""
    image_resolution: int | str | None = None
    """In newer records only (seen). Its type is not documented."""
    width: int | None = None
    """Pixels."""
    height: int | None = None
    """Pixels."""
    can_upscale: bool | None = None
    private: bool | None = None
    expected_number_of_final_responses: int | None = None
    """In newer records only (seen)."""
    user: User | None = None
    user_prompt: str | None = None
    """Can be empty (seen)."""
    user_negative_prompt: str | None = None
    """In newer records only (seen)."""
    user_hparams: Mapping[str, Any] | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the gateway says that it is done: a finite percentage ≥ 100, or `is_completed`.

        A complete request can be without images, and it can have failed (`is_errored`).
        """
        percentage = self.completion_percentage
        if percentage is not None and _DONE <= percentage <= _LARGEST:
            return True
        return self.is_completed is True

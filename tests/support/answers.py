"""Answers in the shapes that were documented and seen; every name, id and prompt is made up."""

from __future__ import annotations

import json
from typing import Any

ID = "QQexample-REQ_0000001A"
OTHER_ID = "-other_id-000000000001"

_COVER_ID = "R0cover-00000000000001"
_IMAGES = "https://ideogram.ai/assets/progressive-image/balanced/response/"


def _image(response_id: str, prompt: str, *, cover: bool) -> dict[str, Any]:
    return {
        "cover": cover,
        "descriptions": [],
        "highest_fidelity": cover,
        "is_autoprompt": True,
        "num_likes": 0,
        "num_remixes": 0,
        "prompt": prompt,
        "response_id": response_id,
        **({"image_url": _IMAGES + response_id} if cover else {}),
        "self_like": False,
    }


DOCUMENTED: dict[str, Any] = {
    "aspect_ratio": "1:1",
    "can_upscale": True,
    "completion_percentage": 100,
    "cover_response_id": _COVER_ID,
    "creation_time_float": 1700000000.950963,
    "has_started": True,
    "height": 1024,
    "is_completed": True,
    "model_version": "V_0_3",
    "private": True,
    "request_id": ID,
    "request_type": "TEXT_TO_IMAGE",
    "resolution": 1024,
    "responses": [
        _image(_COVER_ID, "A teapot on a windowsill, in the morning.", cover=True),
        _image("R1second-0000000000002", "A teapot, seen from above.", cover=False),
        _image("-R2third_0000000000003", "A teapot among cups.", cover=False),
        _image("R3fourth_0000000000004", "", cover=False),
    ],
    "sampling_speed": 0,
    "seed": 1234567890,
    "user": {
        "badge": None,
        "display_handle": "example",
        "photo_url": "https://photos.example/example=s96-c",
        "subscription_plan_id": "o-example-plan-0000001",
        "user_id": "U0example-000000000001",
    },
    "user_hparams": {"aspect_ratio": "1:1"},
    "user_prompt": "teapot",
    "width": 1024,
}
"""The record of both documents, which show one and the same."""

NEWER: dict[str, Any] = {
    **{key: value for key, value in DOCUMENTED.items() if key not in {"seed", "resolution"}},
    "expected_number_of_final_responses": 4,
    "image_resolution": "1024x1024",
    "is_errored": False,
    "model_uri": "model/EXAMPLE/version/0",
    "model_version": "V_4_0",
    "sampling_speed": -2,
    "user_negative_prompt": "",
}
"""A record with the fields of today."""

RUNNING: dict[str, Any] = {
    "aspect_ratio": "1:1",
    "can_upscale": False,
    "completion_percentage": 6,
    "creation_time_float": 1700000000.5,
    "has_started": True,
    "is_completed": False,
    "model_version": "EXTERNAL_MODEL",
    "request_id": ID,
    "request_type": "SUPER_RES",
    "responses": [],
    "user_prompt": "",
}
"""The shape of a record whose request is running: much is absent, nothing null."""


def encoded(document: object) -> bytes:
    """Encode any document."""
    return json.dumps(document).encode()


def body_of(*records: object) -> bytes:
    """Encode the answer that lists these records."""
    return encoded({"sampling_requests": list(records)})


def body_with(field: str, raw: str, record: dict[str, Any] | None = None) -> bytes:
    """Encode the answer whose one record has a field of this raw text."""
    told = {**(DOCUMENTED if record is None else record), field: "@raw@"}
    return body_of(told).replace(b'"@raw@"', raw.encode())

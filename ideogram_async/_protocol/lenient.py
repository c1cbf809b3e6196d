"""What can still be read of a document that does not fit: field by field, nothing required.

One known field of another type must not cost a finished and paid request its record.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

import msgspec

from ideogram_async._models import SamplingRequest, SamplingResponse, User

_PLAIN: dict[type[msgspec.Struct], tuple[tuple[str, Any], ...]] = {
    struct: tuple((field.name, field.type) for field in msgspec.structs.fields(struct))
    for struct in (SamplingRequest, SamplingResponse, User)
}
_MISSING = object()
_LONGEST_INT = 400
"""Digits: Python refuses to read more than some thousands, and the document with them."""
_ESCAPES = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"  # a pair, which is well
    r"|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})"  # half of one: no text that could be encoded
    r"|\\."
)


def _int(digits: str) -> int | None:
    return int(digits) if len(digits) <= _LONGEST_INT else None


def _float(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


# What no number can hold reads as null: NaN, Infinity, 1e400.
_decoder = json.JSONDecoder(parse_constant=lambda _: None, parse_int=_int, parse_float=_float)


def records(body: bytes) -> list[SamplingRequest] | None:
    """Return the records that are there, or None where the document is no answer.

    A list that is null is an empty one. A list that a relay has wrapped in `data` is read, too.
    """
    try:
        document = _decoder.decode(_text(body))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    if "sampling_requests" not in document and isinstance(document.get("data"), dict):
        document = document["data"]
    items = document.get("sampling_requests", _MISSING)
    if items is None:
        return []
    if not isinstance(items, list):
        return None
    return [_request(item) if isinstance(item, dict) else SamplingRequest() for item in items]


def first_object(body: bytes) -> dict[str, Any]:
    """Return the first JSON object of an error's body (a relay was seen to send two), or {}."""
    try:
        document, _ = _decoder.raw_decode(_text(body).lstrip())
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(body: bytes) -> str:
    text = body.decode("utf-8-sig", errors="replace")
    return _ESCAPES.sub(lambda found: r"\ufffd" if found[1] else found[0], text)


def _request(item: dict[str, Any]) -> SamplingRequest:
    told = _fields(SamplingRequest, item)
    images = item.get("responses")
    if isinstance(images, list):
        told["responses"] = tuple(
            SamplingResponse(**_fields(SamplingResponse, image))
            for image in images
            if isinstance(image, dict)
        )
    user = item.get("user")
    if isinstance(user, dict):
        told["user"] = User(**_fields(User, user))
    return SamplingRequest(**told)


def _fields(struct: type[msgspec.Struct], item: dict[str, Any]) -> dict[str, Any]:
    told = {}
    for name, kind in _PLAIN[struct]:
        if name in item:
            try:
                value = msgspec.convert(item[name], kind, strict=False)  # "100", 1 for true
            except (msgspec.ValidationError, RecursionError, OverflowError):
                continue
            if not isinstance(value, float) or math.isfinite(value):
                told[name] = value
    return told

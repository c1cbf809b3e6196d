"""What can still be read of a document that does not fit: field by field, nothing required.

One known field of another type must not cost a finished and paid request its record.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from ideogram_async._models import SamplingRequest, SamplingResponse, User

_PLAIN = {
    struct: tuple((field.name, field.type) for field in msgspec.structs.fields(struct))
    for struct in (SamplingRequest, SamplingResponse, User)
}
_decoder = json.JSONDecoder(parse_constant=lambda _: None)  # NaN and Infinity read as null


def records(body: bytes) -> list[SamplingRequest] | None:
    """Read the records that are there, or None where the document is no answer."""
    try:
        document = _decoder.decode(_text(body))
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    items = document.get("sampling_requests")
    if not isinstance(items, list):
        return None
    return [_request(item) for item in items if isinstance(item, dict)]


def first_object(body: bytes) -> dict[str, Any]:
    """Read the first JSON object of an error's body (a relay was seen to send two), or {}."""
    try:
        document, _ = _decoder.raw_decode(_text(body).lstrip())
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _text(body: bytes) -> str:
    return body.decode("utf-8-sig", errors="replace")


def _request(item: dict[str, Any]) -> SamplingRequest:
    told = _fields(SamplingRequest, item)
    images = item.get("responses")
    if isinstance(images, list):
        kept = (image for image in images if isinstance(image, dict))
        told["responses"] = tuple(
            SamplingResponse(**_fields(SamplingResponse, image)) for image in kept
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
                told[name] = msgspec.convert(item[name], kind)
            except (msgspec.ValidationError, RecursionError, OverflowError):
                continue
    return told

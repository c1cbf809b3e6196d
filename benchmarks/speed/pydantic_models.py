"""The library's record as pydantic models, generated from its structs."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from types import GenericAlias
from typing import Any, get_type_hints

import msgspec

from ideogram_async import SamplingRequest, SamplingResponse, User


def reader() -> Callable[[bytes], Any]:
    """Return the function that decodes an answer; raise ImportError without pydantic."""
    create = importlib.import_module("pydantic").create_model
    user: Any = _model(create, User)
    response: Any = _model(create, SamplingResponse)
    request: Any = _model(
        create,
        SamplingRequest,
        user=user | None,
        responses=GenericAlias(tuple, (response, ...)),
    )
    envelope = create("Envelope", sampling_requests=(GenericAlias(tuple, (request, ...)), ...))
    read: Callable[[bytes], Any] = envelope.model_validate_json
    return read


def _model(create: Any, struct: type[msgspec.Struct], **own: Any) -> Any:
    hints = get_type_hints(struct) | own
    fields = {
        field.name: (hints[field.name], field.default) for field in msgspec.structs.fields(struct)
    }
    return create(struct.__name__, **fields)

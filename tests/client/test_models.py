"""Records: what they hold of an answer, when they are complete, where their images are."""

from __future__ import annotations

import copy
import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from pydantic import BaseModel, ValidationError

from ideogram_async import SamplingRequest, SamplingResponse, User
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer
from tests.support.answers import DOCUMENTED, ID, NEWER, RUNNING, body_of
from tests.support.asgi import Caller

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = int("9" * 310)
"""An integer that no float can hold."""


def decoded(record: dict[str, Any]) -> SamplingRequest:
    """Give what an answer with this record is read as."""
    answer = read_answer(ID, 200, {"Content-Type": "application/json"}, body_of(record))
    assert isinstance(answer, Answer)
    return answer.record


def expected(record: dict[str, Any]) -> dict[str, Any]:
    """Give the fields of the struct for a record: its own, and what is read where it has none."""
    told = {**dict.fromkeys(SamplingRequest.__struct_fields__), **record}
    told["responses"] = tuple(
        {**dict.fromkeys(SamplingResponse.__struct_fields__), **image, "descriptions": ()}
        for image in record.get("responses", ())
    )
    if "user" in record:
        told["user"] = {**dict.fromkeys(User.__struct_fields__), **record["user"]}
    return told


def fields(struct: msgspec.Struct) -> dict[str, Any]:
    """Give the fields of a struct, those of the structs inside it likewise."""
    return {name: _plain(getattr(struct, name)) for name in struct.__struct_fields__}


def _plain(value: object) -> object:
    if isinstance(value, msgspec.Struct):
        return fields(value)
    return tuple(map(_plain, value)) if isinstance(value, tuple) else value


@pytest.mark.parametrize(
    "record",
    [DOCUMENTED, NEWER, RUNNING, {"request_id": ID}],
    ids=["documented", "newer", "running", "bare"],
)
def test_every_field_of_a_record_comes_out_equal(record: dict[str, Any]) -> None:
    """Each shape that was documented or seen is read with every field equal, the rest absent."""
    assert fields(decoded(record)) == expected(record)


def test_every_documented_and_newer_field_has_a_name_of_its_own() -> None:
    """No field of the documents, and none of the newer ones, is dropped as an unknown key."""
    (cover, *_) = DOCUMENTED["responses"]
    assert {*DOCUMENTED, *NEWER} == set(SamplingRequest.__struct_fields__)
    assert set(cover) == set(SamplingResponse.__struct_fields__)
    assert set(DOCUMENTED["user"]) == set(User.__struct_fields__)


def test_unknown_keys_change_nothing() -> None:
    """Keys that nobody knows yet, at every level, leave the record as it is without them."""
    novel = {"brand_new": {"nested": [1, None, "x"]}, "": 0, "is_complete": False}
    images = [{**image, **novel} for image in DOCUMENTED["responses"]]
    user = {**DOCUMENTED["user"], **novel}
    record = {**DOCUMENTED, **novel, "responses": images, "user": user}
    assert decoded(record) == decoded(DOCUMENTED)


def test_a_running_request_has_no_images_and_no_size() -> None:
    """What is absent while a request runs reads as None, and `responses` as the empty tuple."""
    record = decoded(RUNNING)
    assert record.responses == ()
    absent = (record.resolution, record.width, record.height, record.cover_response_id)
    assert absent == (None, None, None, None)
    assert record.can_upscale is False
    assert not record.is_complete


def test_values_beyond_those_seen_are_kept() -> None:
    """Versions, kinds and speeds are no closed lists."""
    record = decoded({**RUNNING, "model_version": "V_9", "request_type": "X", "sampling_speed": 77})
    assert (record.model_version, record.request_type, record.sampling_speed) == ("V_9", "X", 77)


@pytest.mark.parametrize(
    ("told", "complete"),
    [
        ({}, False),
        ({"completion_percentage": 99}, False),
        ({"completion_percentage": 99.99}, False),
        ({"completion_percentage": 57.5}, False),
        ({"completion_percentage": -1}, False),
        ({"completion_percentage": 100}, True),
        ({"completion_percentage": 100.0}, True),
        ({"completion_percentage": 101}, True),
        ({"completion_percentage": math.nan}, False),
        ({"completion_percentage": math.inf}, False),
        ({"completion_percentage": -math.inf}, False),
        ({"completion_percentage": HUGE}, False),
        ({"completion_percentage": 0, "is_completed": True}, True),
        ({"completion_percentage": 100, "is_completed": False}, True),
        ({"completion_percentage": 99, "is_completed": False}, False),
        ({"is_completed": True}, True),
        ({"is_completed": False}, False),
        ({"is_completed": True, "responses": ()}, True),
        ({"is_completed": True, "is_errored": True}, True),
    ],
    ids=str,
)
def test_completion_is_a_finite_hundred_or_is_completed(
    told: dict[str, Any], *, complete: bool
) -> None:
    """A request is complete at a finite percentage of 100 or more, or by `is_completed`."""
    assert SamplingRequest(**told).is_complete is complete


def test_the_cover_has_its_own_address_and_the_others_derive_theirs() -> None:
    """`url` is the `image_url`, and without one it derives from the id, as documented."""
    cover, second, third, _ = decoded(DOCUMENTED).responses
    base = "https://ideogram.ai/assets"
    assert cover.url == cover.image_url == DOCUMENTED["responses"][0]["image_url"]
    assert second.url == f"{base}/progressive-image/balanced/response/R1second-0000000000002"
    assert third.lossless_url == f"{base}/image/lossless/response/-R2third_0000000000003"


@pytest.mark.parametrize("image", [SamplingResponse(), SamplingResponse(response_id="")])
def test_an_image_without_an_id_has_no_derived_address(image: SamplingResponse) -> None:
    """Without an id there is nothing to derive, and an empty `image_url` is none."""
    assert image.url is None
    assert image.lossless_url is None
    elsewhere = SamplingResponse(image_url="https://cdn.example/a.png", response_id="r")
    assert elsewhere.url == "https://cdn.example/a.png"
    empty = SamplingResponse(image_url="", response_id="r")
    assert empty.url == SamplingResponse(response_id="r").url


def test_an_odd_id_stays_within_its_address() -> None:
    """What an id holds beyond base64 is quoted, so that it cannot reach out of its address."""
    url = SamplingResponse(response_id="../a?b#c\n\ud800").lossless_url
    assert url == "https://ideogram.ai/assets/image/lossless/response/..%2Fa%3Fb%23c%0A%3F"


def _change(record: Any, field: str) -> None:
    setattr(record, field, None)


def test_records_are_frozen() -> None:
    """A record is shared by all who await its id, so nobody can change it."""
    record = decoded(DOCUMENTED)
    with pytest.raises(AttributeError):
        _change(record, "seed")
    with pytest.raises(AttributeError):
        _change(record.responses[0], "prompt")
    with pytest.raises(AttributeError):
        _change(record.user, "badge")
    assert isinstance(record.responses, tuple)
    assert isinstance(record.responses[0].descriptions, tuple)


@pytest.mark.parametrize(
    "through",
    [copy.copy, copy.deepcopy, lambda record: pickle.loads(pickle.dumps(record))],  # noqa: S301
    ids=["copy", "deepcopy", "pickle"],
)
def test_records_travel(through: Callable[[SamplingRequest], SamplingRequest]) -> None:
    """A record goes to another process and comes back equal."""
    record = decoded(DOCUMENTED)
    assert through(record) == record


def test_a_record_goes_back_to_the_wire() -> None:
    """Encoded anew, a record says what it was read from, and what was absent stays absent."""
    for record in map(decoded, (DOCUMENTED, NEWER, RUNNING)):
        encoded = msgspec.json.encode(record)
        assert msgspec.json.decode(encoded, type=SamplingRequest) == record
        assert b"null" not in encoded


def test_a_record_as_json_and_as_a_dict() -> None:
    """`to_json` and `to_dict` give what the wire had, and so does `vars`; images have them, too."""
    record = decoded(NEWER)
    assert json.loads(record.to_json()) == record.to_dict() == vars(record)
    assert record.to_dict() == {key: value for key, value in NEWER.items() if key != "user"} | {
        "user": {key: value for key, value in NEWER["user"].items() if value is not None}
    }
    assert record.responses[1].to_dict() == NEWER["responses"][1]
    assert record.user is not None
    assert record.user.to_dict()["user_id"] == NEWER["user"]["user_id"]


class _Envelope(BaseModel):
    name: str
    request: SamplingRequest


@pytest.mark.anyio
async def test_fastapi_returns_records_as_they_are() -> None:
    """An endpoint returns a record, a list of them or a model that holds one, typed or not."""
    from fastapi import FastAPI  # noqa: PLC0415 - a slow import that each worker would wait for

    app, record = FastAPI(), decoded(NEWER)

    @app.get("/typed")
    async def typed() -> SamplingRequest:
        return record

    @app.get("/listed")
    async def listed() -> list[SamplingRequest]:
        return [record]

    @app.get("/held")
    async def held() -> _Envelope:
        return _Envelope(name="one", request=record)

    @app.get("/untyped", response_model=None)
    async def untyped() -> Any:
        return {"image": record.responses[0], "request": record}

    expected = {
        "/typed": record.to_dict(),
        "/listed": [record.to_dict()],
        "/held": {"name": "one", "request": record.to_dict()},
        "/untyped": {"image": record.responses[0].to_dict(), "request": record.to_dict()},
    }
    for path, document in expected.items():
        caller = Caller(app, path)
        await caller.task
        assert (caller.status, json.loads(caller.body)) == (200, document)
    assert app.openapi()["paths"].keys() == expected.keys()
    with pytest.raises(ValidationError, match="instance of SamplingRequest"):
        _Envelope(name="one", request=record.to_dict())  # type: ignore[arg-type]

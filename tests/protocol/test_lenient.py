"""What is still read of a record that does not fit: field by field, and nothing is lost with it."""

from __future__ import annotations

import math
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async import SamplingRequest, User
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer
from tests.support.answers import DOCUMENTED, ID, NEWER, RUNNING, body_of, body_with

GOOD = {**NEWER, **DOCUMENTED}
"""A record with every field that is known."""
LARGEST = 1.7976931348623157e308


def record_of(body: bytes) -> SamplingRequest:
    """Read an answer that holds the record, sick as it may be."""
    answer = read_answer(ID, 200, {}, body)
    assert isinstance(answer, Answer), answer
    assert answer.record.request_id == ID
    return answer.record


def differing(one: SamplingRequest, other: SamplingRequest) -> set[str]:
    """Name the fields in which two records differ."""
    names = SamplingRequest.__struct_fields__
    return {name for name in names if getattr(one, name) != getattr(other, name)}


INTACT = record_of(body_of(GOOD))

_JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(10**420), 10**420)
    | st.floats()
    | st.text()
    | st.sampled_from(["100", "true", 100, 100.0, 99.999, LARGEST, [], {}, "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
_CHANGES = st.dictionaries(st.sampled_from(sorted(GOOD.keys() - {"request_id"})), _JSON_VALUES)


def _is_done(told: dict[str, Any]) -> bool:
    raw: object = told["completion_percentage"]
    is_digits = isinstance(raw, str) and re.fullmatch(r"-?\d+", raw, re.ASCII)
    percentage = int(str(raw)) if is_digits else raw
    counts = (
        isinstance(percentage, int | float)
        and not isinstance(percentage, bool)
        and 100 <= percentage <= LARGEST
    )
    completed = told["is_completed"]
    says_so = (
        completed is True
        or (isinstance(completed, int) and completed == 1)
        or completed in ("1", "true")
    )
    return counts or says_so


@given(changes=_CHANGES)
def test_fields_of_any_type_never_lose_the_record(changes: dict[str, Any]) -> None:
    """Whatever replaces some fields, the record is read, the others stay equal, no 100 appears."""
    told = {**GOOD, **changes}
    record = record_of(body_of(told))
    assert differing(record, INTACT) <= changes.keys()
    assert record.is_complete is _is_done(told)


_IMAGE_CHANGES = st.dictionaries(st.sampled_from(sorted(GOOD["responses"][0])), _JSON_VALUES)


@given(image=_IMAGE_CHANGES, odd=_JSON_VALUES.filter(lambda value: not isinstance(value, dict)))
def test_a_sick_image_never_loses_the_others(image: dict[str, Any], odd: object) -> None:
    """A field of one image, or an image that is none, costs nothing but itself."""
    cover, *others = GOOD["responses"]
    record = record_of(body_of({**GOOD, "responses": [odd, {**cover, **image}, *others]}))
    read, *rest = record.responses
    whole, *wanted = INTACT.responses
    assert rest == wanted
    for name in cover.keys() - image.keys():
        assert getattr(read, name) == getattr(whole, name)
    assert not differing(record, INTACT) - {"responses"}


@pytest.mark.parametrize(
    ("field", "raw"),
    [
        ("seed", "1.5"),
        ("seed", "9" * 5000),
        ("width", "true"),
        ("user", '"example"'),
        ("user", "[]"),
        ("user_prompt", "5"),
        ("user_prompt", '{"text":"x"}'),
        ("private", "null"),
        ("creation_time_float", "NaN"),
        ("creation_time_float", "1e400"),
        ("creation_time_float", "9" * 310),
        ("model_version", "4"),
        ("image_resolution", "[1024,1024]"),
        ("user_hparams", "[]"),
        ("completion_percentage", "true"),
        ("completion_percentage", "null"),
        ("completion_percentage", "NaN"),
        ("completion_percentage", "Infinity"),
        ("completion_percentage", "-Infinity"),
        ("completion_percentage", "1e400"),
        ("completion_percentage", "9" * 5000),
        ("completion_percentage", "[100]"),
        ("completion_percentage", '{"value":100}'),
    ],
    ids=lambda text: text[:24],
)
def test_a_known_field_of_another_type_reads_as_absent(field: str, raw: str) -> None:
    """A field of another type is absent, and the rest of the record equal."""
    record = record_of(body_with(field, raw, GOOD))
    assert getattr(record, field) is None
    assert differing(record, INTACT) == {field}


@pytest.mark.parametrize(
    "raw", ["NaN", "Infinity", "1e400", "9" * 310, "9" * 5000, "true", "-1", "null", "[]"]
)
@pytest.mark.parametrize("seed", ["1", '"1"'], ids=["fits", "salvaged"])
def test_no_odd_percentage_means_done(raw: str, seed: str) -> None:
    """What is no finite number of 100 or more never completes a request, however it is read."""
    told = {**RUNNING, "seed": "@seed@"}
    body = body_with("completion_percentage", raw, told).replace(b'"@seed@"', seed.encode())
    record = record_of(body)
    assert not record.is_complete
    assert record.user_prompt == ""
    assert math.isfinite(record.creation_time_float or math.nan)


@pytest.mark.parametrize("raw", ["57.5", "-1", "0", "99.999", "1e2", "100.0", "100"])
@pytest.mark.parametrize("seed", [1, "1"], ids=["fits", "salvaged"])
def test_percentages_are_numbers_of_either_kind(raw: str, seed: object) -> None:
    """A float is as good a percentage as an integer, also in a record that is salvaged."""
    record = record_of(body_with("completion_percentage", raw, {**RUNNING, "seed": seed}))
    assert record.completion_percentage == float(raw)
    assert record.is_complete is (float(raw) >= 100)


def test_responses_null_reads_as_none_there() -> None:
    """`responses: null` is the empty tuple, not None, so that nobody stumbles over it."""
    assert record_of(body_with("responses", "null", GOOD)).responses == ()


def test_what_is_read_of_a_sick_user() -> None:
    """Of a user with one odd field the others stay."""
    user = {**GOOD["user"], "badge": 1, "user_id": ["x"]}
    read = record_of(body_of({**GOOD, "user": user})).user
    assert isinstance(read, User)
    assert read == User(
        display_handle="example",
        photo_url="https://photos.example/example=s96-c",
        subscription_plan_id="o-example-plan-0000001",
    )


@pytest.mark.parametrize(
    "sick",
    [b"\xff", b"\xc3", b"\xed\xa0\x80", rb"\ud800", rb"\udc00\ud800", rb"x\\\ud83d"],
    ids=repr,
)
def test_one_bad_character_costs_only_itself(sick: bytes) -> None:
    """Invalid UTF-8 and half a surrogate become U+FFFD: text that can be printed and encoded."""
    body = body_of({**GOOD, "user_prompt": "@prompt@"}).replace(b"@prompt@", b"a" + sick + b"z")
    record = record_of(body)
    prompt = record.user_prompt or ""
    assert set(prompt[1:-1]) <= {"\ufffd", "x", "\\"}
    assert "\ufffd" in prompt
    assert prompt.encode()
    assert differing(record, INTACT) == {"user_prompt"}


@pytest.mark.parametrize("raw", [r"\ud83d\ude00", r"\\ud800", r"\u00e9\n\"", "😀"])
def test_salvage_leaves_well_formed_text_alone(raw: str) -> None:
    """Whole surrogate pairs and escaped backslashes read the same in a record that is salvaged."""
    whole, salvaged = (
        record_of(body_with("user_prompt", f'"{raw}"', {**GOOD, "seed": seed})) for seed in (1, "x")
    )
    assert whole.user_prompt == salvaged.user_prompt
    assert differing(whole, salvaged) == {"seed"}


@pytest.mark.parametrize(
    ("name", "raw", "value"),
    [
        ("completion_percentage", '"100"', 100),
        ("seed", '"1"', 1),
        ("height", "1024.0", 1024),
        ("creation_time_float", '"1700000000.5"', 1700000000.5),
        ("is_completed", "1", True),
        ("is_completed", '"true"', True),
        ("is_errored", "0", False),
    ],
)
def test_what_is_sloppy_but_clear_is_read(name: str, raw: str, value: object) -> None:
    """A number in quotes is a number, and 1 or "true" is true where a boolean is due."""
    record = record_of(body_with(name, raw, GOOD))
    assert getattr(record, name) == value


def test_a_byte_order_mark_is_no_fault() -> None:
    """A BOM before the document is skipped."""
    assert record_of(b"\xef\xbb\xbf" + body_of(GOOD)) == INTACT

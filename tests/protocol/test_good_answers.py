"""Answers with a status of success: which are one, for which id, and which are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ideogram_async import BaseURLError, InvalidResponseError, RequestError
from ideogram_async._protocol.answers import read_answer, record_of
from ideogram_async._protocol.headers import http_date
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async._protocol.query import encode_query
from ideogram_async._protocol.sanitize import MOST_CHARACTERS
from tests.support.answers import DOCUMENTED, ID, OTHER_ID, RUNNING, body_of, encoded

JSON = {"Content-Type": "application/json; charset=utf-8"}


def ask(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer | Fault:
    """Read an answer to the query for `ID`."""
    return read_answer(ID, status, JSON if headers is None else headers, body)


def malformed(body: bytes) -> Fault:
    """Read an answer with 200 that is none."""
    found = ask(200, body)
    assert isinstance(found, Fault)
    assert found.kind is FaultKind.MALFORMED
    assert type(found.error) is InvalidResponseError
    assert found.error.retryable
    return found


# What breaks a naive client


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"null",
        b"true",
        b"[]",
        b"{}",
        b"0",
        b'"x"',
        b"OK",
        b"\xff\xfe",
        encoded(DOCUMENTED),
        encoded([DOCUMENTED]),
        encoded({"sampling_requests": DOCUMENTED}),
        encoded({"sampling_requests": "x"}),
        body_of(DOCUMENTED) * 2,
        body_of(DOCUMENTED) + b"x",
        body_of(DOCUMENTED)[:-1],
        body_of(DOCUMENTED)[:-9],
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"0" + b"}" * 100_000,
        b'{"sampling_requests":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_answer_is_malformed(body: bytes) -> None:
    """A 2xx without a whole JSON object that has a list is malformed, and never complete."""
    assert not malformed(body).is_misplaced


def test_the_words_of_a_malformed_answer_are_told() -> None:
    """Where a 2xx brings an error's words instead of a list, the error says them."""
    body = encoded({"error": {"message": "upstream error", "type": "one_api_error"}})
    assert str(malformed(body).error) == f"request {ID!r}: upstream error"
    assert "no JSON object with a list" in str(malformed(b"{}").error)
    assert "no record of this id" in str(malformed(body_of({})).error)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"error": {"message": 5, "detail": "d"}}, "d"),
        ({"error": {"message": "", "title": "t"}}, "t"),
        ({"error": {"message": ["m"], "detail": {}, "title": None}}, ""),
        ({"error": {"message": "m", "detail": "d"}, "message": "outer"}, "m"),
        ({"error": "e", "message": "m"}, "m"),
        ({"error": "e"}, "e"),
        ({"error": ["e"]}, ""),
        ({"message": "m", "detail": "d", "title": "t"}, "m"),
        ({"detail": "d", "title": "t"}, "d"),
        ({"detail": [{"msg": "field required"}], "title": "t"}, "field required"),
        ([{"message": "m"}], ""),
    ],
    ids=str,
)
def test_where_an_errors_words_stand(document: object, words: str) -> None:
    """The first text of message, detail and title counts, in whatever shape the error comes."""
    found = ask(500, encoded(document))
    assert isinstance(found, Fault)
    told = f"500: {words}" if words else "500, with no message"
    assert str(found.error) == f"request {ID!r}: {told}"


@pytest.mark.parametrize(
    "records",
    [
        [{**DOCUMENTED, "request_id": OTHER_ID}],
        [{**DOCUMENTED, "request_id": ID.lower()}],
        [{**DOCUMENTED, "request_id": f"{ID} "}],
        [{**DOCUMENTED, "request_id": None}],
        [{**DOCUMENTED, "request_id": 1}],
        [{key: value for key, value in DOCUMENTED.items() if key != "request_id"}],
        [{}],
        [None],
        [[DOCUMENTED]],
        ["x", 1],
    ],
)
def test_an_answer_without_the_record_is_misplaced(records: list[object]) -> None:
    """An answer counts through its own `request_id` alone; any other is out of step."""
    assert malformed(body_of(*records)).is_misplaced


@pytest.mark.parametrize("odd", [{"seed": 1}, {"seed": "1"}], ids=["fits", "salvaged"])
def test_the_record_is_found_behind_others(odd: dict[str, Any]) -> None:
    """The record is found by its id, wherever in the list it stands, and never by its place."""
    others = [{**RUNNING, "request_id": OTHER_ID}, {}, *([None] if odd["seed"] == "1" else [])]
    found = ask(200, body_of(*others, {**DOCUMENTED, **odd}, {**RUNNING, "request_id": "x"}))
    assert isinstance(found, Answer)
    assert found.record.request_id == ID
    assert found.record.is_complete


@pytest.mark.parametrize("seed", ["1", '"1"'], ids=["fits", "salvaged"])
@pytest.mark.parametrize(("first", "last"), [(OTHER_ID, ID), (ID, OTHER_ID)])
def test_of_duplicate_keys_the_last_one_counts(seed: str, first: str, last: str) -> None:
    """An id that a later duplicate overrides does not count, in either way of reading."""
    record = f'{{"request_id":"{first}","seed":{seed},"request_id":"{last}"}}'
    body = f'{{"sampling_requests":[],"sampling_requests":[{record}]}}'
    assert isinstance(ask(200, body.encode()), Answer) is (last == ID)


def test_the_servers_clock_comes_with_the_answer() -> None:
    """`Date` is read as seconds of Unix time, and a sick one as none at all."""
    dated = ask(200, body_of(DOCUMENTED), {"Date": "Tue, 14 Nov 2023 22:13:20 GMT"})
    assert isinstance(dated, Answer)
    assert dated.server_time == 1_700_000_000.0
    for date in ("", "yesterday", "Tue, १४ Nov 2023 22:13:20 GMT", "Tue, 99 Nov 2023 22:13:20 GMT"):
        undated = ask(200, body_of(DOCUMENTED), {"Date": date})
        assert isinstance(undated, Answer)
        assert undated.server_time is None


# Hostile answers

_HEADER_NAMES = st.sampled_from(["Content-Type", "Retry-After", "Location", "Date"])
_DATES = st.builds("{}, {} {} {} {}:{}:{} {}".format, *([st.text(max_size=5)] * 8))
_HEADERS = st.dictionaries(
    _HEADER_NAMES, st.text() | _DATES | st.sampled_from(["text/html", "application/json"])
)
_JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_IDS = st.sampled_from([ID, OTHER_ID, "", None, 1])
_RECORDS = st.builds(
    lambda told, request_id: {**told, "request_id": request_id},
    st.dictionaries(st.sampled_from(sorted(DOCUMENTED)), _JSON_VALUES, max_size=4),
    _IDS,
)
_DOCUMENTS = st.one_of(
    _JSON_VALUES,
    st.fixed_dictionaries({"sampling_requests": st.lists(_RECORDS | _JSON_VALUES, max_size=3)}),
    st.fixed_dictionaries({"error": _JSON_VALUES, "code": _JSON_VALUES, "success": _JSON_VALUES}),
    st.fixed_dictionaries(
        {"error": st.fixed_dictionaries({"message": _JSON_VALUES, "code": _JSON_VALUES})}
    ),
)
_BODIES = st.binary(max_size=64) | st.builds(encoded, _DOCUMENTS)


@given(status=st.integers(100, 599) | st.just(200), headers=_HEADERS, body=_BODIES)
@example(status=200, headers={}, body=b'{"sampling_requests":[{"seed":' + b"9" * 5000 + b"}]}")
@example(status=500, headers={}, body=b'{"error":{"code":' + b"9" * 5000 + b"}}")
@example(status=429, headers={"Retry-After": "9" * 5000, "Date": "9" * 5000}, body=b"")
@example(status=500, headers={}, body=b'{"error":{"message":"\\ud800\\u202e\\u0000"}}')
def test_no_answer_raises_or_credits_another_id(
    status: int, headers: dict[str, str], body: bytes
) -> None:
    """Whatever comes is an answer for the id that was asked, or a fault with a printable error."""
    outcome = ask(status, body, headers)
    if isinstance(outcome, Answer):
        assert status in range(200, 300)
        assert outcome.record.request_id == ID
        return
    error = outcome.error
    assert isinstance(error, RequestError | BaseURLError)
    assert (error.request_id, error.status) == (ID, status)
    assert str(error).isprintable()
    assert len(str(error)) <= MOST_CHARACTERS + 200
    assert error.retry_after is None or 0 <= error.retry_after <= 300


@given(st.text() | _DATES)
def test_no_date_raises(value: str) -> None:
    """A header that is no date reads as none."""
    read = http_date(value)
    assert read is None or isinstance(read, float)


# The query


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example('"\\\x00\n\u2028</script>')
@example("-leading_dash-and_under")
def test_any_id_round_trips_through_the_query(request_id: str) -> None:
    """The query is one JSON object with the id and nothing else, whatever the id holds."""
    assert json.loads(encode_query(request_id)) == {"request_id": request_id}


@pytest.mark.parametrize("others", [0, 100])
def test_an_answer_is_kept_to_be_read_again(others: int) -> None:
    """What is kept of an answer gives its record again, be it cut down from a large one."""
    body = body_of(*[{**DOCUMENTED, "request_id": OTHER_ID}] * others, DOCUMENTED)
    answer = ask(200, body)
    assert isinstance(answer, Answer)
    kept = answer.kept()
    assert record_of(ID, kept) == answer.record
    assert record_of(OTHER_ID, kept) is None
    assert len(kept) <= 16_384
    assert (kept is body) == (not others)

"""Answers that are none, or look like none, or look like one: whole answers, by name."""

from __future__ import annotations

import json

from tests.fault_matrix.scene import LATENCY
from tests.support.answers import body_with
from tests.support.large_answers import large_answers
from tests.support.raw_server import Choice, End, Step, body_of, record, reply

_HTML = "Content-Type: text/html"
_PAGE = b"<html><head><title>Error</title></head><body>oops</body></html>"
_SICK = {**record("sick"), "user_prompt": "teapot"}


def after_a_while(answer: bytes) -> Choice:
    """Answer as quickly as a good answer comes."""
    return [LATENCY, answer]


def error_of(status: str, message: str, code: object = None, *headers: str) -> bytes:
    """Make an error as the relay words it."""
    inner = {"message": message, "type": "one_api_error", "code": code}
    return reply(json.dumps({"error": inner}).encode(), status, *headers)


def page(status: str, *headers: str) -> bytes:
    """Make an error as a server in front of the relay words it."""
    return reply(_PAGE, status, _HTML, *headers)


def told(field: str, raw: str) -> bytes:
    """Make the sick id's complete record, with one field of a raw text."""
    return reply(body_with(field, raw, dict(_SICK)))


def progress(raw: str) -> bytes:
    """Make the sick id's record with a percentage of a raw text, and no `is_completed`."""
    running = {key: value for key, value in _SICK.items() if key != "is_completed"}
    return reply(body_with("completion_percentage", raw, running))


def _record_of(**fields: object) -> bytes:
    return reply({**_SICK, **fields})


def _listing(*records: object) -> bytes:
    return reply(json.dumps({"sampling_requests": records}).encode())


NOT_DONE: dict[str, bytes] = {
    **{
        f"percentage {raw[:12]}": progress(raw)
        for raw in ("NaN", "-1", "57.5", "99.999", "1e400", "null", "true", "[100]")
    },
    "percentage of 310 digits": progress("1" * 310),
    "percentage -Infinity": progress("-Infinity"),
    "percentage missing": reply({"request_id": "sick", "responses": []}),
}
"""Records that tell no completion, however much they look like it."""

NO_ANSWER: dict[str, bytes] = {
    "empty body": reply(b""),
    "null": reply(b"null"),
    "[]": reply(b"[]"),
    "{}": reply(b"{}"),
    "bare record": reply(json.dumps(_SICK).encode()),
    "list null": reply(b'{"sampling_requests":null}'),
    "two JSON objects": reply(body_of(_SICK) * 2),
    "cut JSON": reply(body_of(_SICK)[:-9]),
    "not JSON": reply(b"OK"),
    "invalid UTF-8 alone": reply(b"\xff\xfe\xfa"),
    "deep nesting": reply(b"[" * 100_000 + b"]" * 100_000),
    "deep list": reply(b'{"sampling_requests":' + b"[" * 100_000 + b"]" * 100_000 + b"}"),
    "HTML with 200": page("200 OK"),
    "success false": reply(b'{"success":false,"message":"no"}'),
    "complete record with 500": reply(_SICK, "500 Internal Server Error"),
    "complete record with 403 HTML": page("403 Forbidden"),
}
"""Answers with nothing that could be believed: never complete, and asked for again."""

NOT_OURS: dict[str, bytes] = {
    "another id's record": _record_of(request_id="other"),
    "record without an id": _listing({"completion_percentage": 100, "is_completed": True}),
    "id of another case": _record_of(request_id="SICK"),
    "id with a blank": _record_of(request_id="sick "),
    "id null": _record_of(request_id=None),
    "list of null": _listing(None),
    "a duplicate key overrides the id": reply(
        b'{"sampling_requests":[{"request_id":"sick","completion_percentage":100,'
        b'"request_id":"other"}]}'
    ),
}
"""Answers for another id, or for none."""

GOOD_ENOUGH: dict[str, bytes] = {
    'percentage "100"': progress('"100"'),
    'is_completed "true"': reply({"request_id": "sick", "is_completed": "true"}),
    "is_completed 1": reply({"request_id": "sick", "is_completed": 1}),
    "the record behind others": _listing({"request_id": "other"}, _SICK),
    "the record among nulls": _listing(None, 5, _SICK),
    "invalid UTF-8 in a prompt": reply(body_of(_SICK).replace(b"teapot", b"te\xffpot")),
    "half a surrogate": told("user_prompt", '"\\ud800"'),
    "seed as text": told("seed", '"1"'),
    "height as a float": told("height", "1024.5"),
    "user as text": told("user", '"example"'),
    "responses null": told("responses", "null"),
    "a sick image": told("responses", '[null,{"response_id":5}]'),
    "nothing but id and percentage": reply({"request_id": "sick", "completion_percentage": 100}),
    "percentage 100.0": progress("100.0"),
    "percentage 101": progress("101"),
    "percentage NaN, but is_completed": told("completion_percentage", "NaN"),
    "created in the year 10^24": told("creation_time_float", "1e24"),
    "unknown keys": _record_of(brand_new={"nested": [1, None]}),
    "status 203": reply(_SICK, "203 Non-Authoritative Information"),
    "no Content-Type": b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s"
    % (len(body_of(_SICK)), body_of(_SICK)),
    "a byte order mark": reply(b"\xef\xbb\xbf" + body_of(_SICK)),
    "100 Continue first": b"HTTP/1.1 100 Continue\r\n\r\n" + reply(_SICK),
    "gzip": reply(_SICK, zipped=True),
    "chunked": reply(_SICK, chunked=True),
}
"""Odd answers that hold the record."""

TRANSIENT: dict[str, bytes] = {
    f"{status}": page(f"{status} Oops") for status in (500, 502, 504, *range(520, 531), 418)
}
TRANSIENT["502 in the relay's words"] = error_of("502 Bad Gateway", "", "bad_response_status_code")
TRANSIENT["CDN 403, as a problem"] = reply(
    b'{"title":"Access denied","status":403}',
    "403 Forbidden",
    "Content-Type: application/problem+json",
)
"""Errors of the moment."""


LARGE = large_answers(mib=4)
"""More than max_body."""


def _without_length(*steps: Step) -> Choice:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"
    return [head, *steps]


CUT: dict[str, Choice] = {
    "ended by the connection, cut": _without_length(body_of(_SICK)[:-1], 0.1, End.CLOSE),
    "ended by a reset": _without_length(body_of(_SICK)[:-1], 0.1, End.RESET),
    "br, which nobody asked for": [reply(b"\x8b\x02\x80", "200 OK", "Content-Encoding: br")],
    "zstd, which nobody asked for": [reply(b"\x28\xb5", "200 OK", "Content-Encoding: zstd")],
}
"""What breaks off, beside the tables of `wire_faults`."""

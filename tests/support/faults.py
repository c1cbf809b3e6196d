"""The errors, odd answers and broken connections that gateways were seen to give, by name.

They follow the tables of the wire's facts: what gateways answer, and what breaks a naive client.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from ideogram_async.testing import (
    DROP,
    HANG,
    PATH,
    RESET,
    TRUNCATE,
    UNAUTHORIZED,
    Altered,
    Fault,
    Reply,
    html_reply,
    json_reply,
    relay_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_JSON = {"Content-Type": "application/json"}
_PROBLEM = {"Content-Type": "application/problem+json"}


def _twice(document: object) -> bytes:
    return json_reply(document).body * 2


def _problem(status: int, **headers: str) -> Reply:
    document = {"type": "about:blank", "title": "error", "status": status}
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return json_reply(document, status, _PROBLEM | told)


_RATE_LIMITED = relay_error(429, "too many requests")
_QUOTA = "用户额度不足"

RELAY_ERRORS: Mapping[str, Fault] = MappingProxyType(
    {
        "token refused": UNAUTHORIZED,
        "token refused without a code": relay_error(401, "invalid token", kind="new_api_error"),
        "token refused with a number": relay_error(
            401, "invalid token", kind="shell_api_error", code=401
        ),
        "token quota used up": relay_error(401, "该令牌额度已用尽"),
        "account quota used up": relay_error(403, _QUOTA, code="insufficient_user_quota"),
        "account quota used up, as 429": relay_error(429, _QUOTA, code="insufficient_user_quota"),
        "no channel for the model": relay_error(503, "无可用渠道", code="model_not_found"),
        "upstream saturated": relay_error(429, "当前分组上游负载已饱和"),
        "rate limit by IP": Reply(429),
        "rate limit twice over": Reply(429, _JSON, _RATE_LIMITED.body * 2),
        "rate limit with seconds": Reply(429, {"Retry-After": "7"}),
        "upstream sent HTML": relay_error(
            502, "", kind="upstream_error", param="502", code="bad_response_status_code"
        ),
        "unknown path": relay_error(
            404, f"Invalid URL (POST {PATH})", kind="invalid_request_error"
        ),
        "relay's own web page": html_reply(200),
        "refused by the dashboard": json_reply({"success": False, "message": "无权进行此操作"}),
        "task-style error": json_reply(
            {"code": "quota_not_enough", "message": "额度不足", "data": None}, 400
        ),
        "nginx limit_req": html_reply(503),
        "CDN refuses": html_reply(403),
        "CDN refuses, as a problem": _problem(403),
        "CDN problem with Retry-After": _problem(503, Retry_After="30"),
        **{f"CDN {status}": html_reply(status) for status in (502, 504, *range(520, 527))},
        "CDN problem 504": _problem(504),
    }
)
"""The error table of the wire contract, by name."""


def _record(document: dict[str, Any]) -> dict[str, Any]:
    (record,) = document["sampling_requests"]
    return dict(record)


def _field(**fields: object) -> Altered:
    """Set fields of the record."""
    return Altered(lambda document: {"sampling_requests": [_record(document) | fields]})


def _listed(change: Callable[[dict[str, Any]], list[object]]) -> Altered:
    """Change the list which holds the record."""
    return Altered(lambda document: {"sampling_requests": change(_record(document))})


def _without(*names: str) -> Altered:
    def change(record: dict[str, Any]) -> list[object]:
        return [{name: value for name, value in record.items() if name not in names}]

    return _listed(change)


def _literal(percentage: bytes) -> Altered:
    """Set a percentage which no JSON encoder would write."""

    def change(document: dict[str, Any]) -> bytes:
        record = _record(document) | {"completion_percentage": "@"}
        return json_reply({"sampling_requests": [record]}).body.replace(b'"@"', percentage)

    return Altered(change)


_OTHER = {"request_id": "_other-request-id-0000", "completion_percentage": 100}
_DEEP = b"[" * 100_000 + b"]" * 100_000
_GZIP = {**_JSON, "Content-Encoding": "gzip"}

ODD_ANSWERS: Mapping[str, Fault] = MappingProxyType(
    {
        "only what is required": _listed(
            lambda record: [{key: record[key] for key in ("request_id", "is_completed")}]
        ),
        "unknown values": _field(model_version="V_99", request_type="HOLOGRAM", sampling_speed=77),
        "unknown keys": _field(brand_new={"nested": [1, None]}),
        "seed as text": _field(seed="1"),
        "height as a float": _field(height=1024.0),
        "user as text": _field(user="example"),
        "responses null": _field(responses=None),
        "percentage as text": _field(completion_percentage="100"),
        "percentage true": _field(completion_percentage=True),
        "percentage null": _field(completion_percentage=None),
        "percentage missing": _without("completion_percentage"),
        "percentage a float": _field(completion_percentage=57.5),
        "percentage negative": _field(completion_percentage=-1),
        "percentage NaN": _literal(b"NaN"),
        "percentage 1e400": _literal(b"1e400"),
        "percentage of 310 digits": _literal(b"1" * 310),
        "empty list": json_reply({"sampling_requests": []}),
        "list null": json_reply({"sampling_requests": None}),
        "list of null": json_reply({"sampling_requests": [None]}),
        "another id's record": json_reply({"sampling_requests": [_OTHER]}),
        "another id's record first": _listed(lambda record: [_OTHER, record]),
        "record without an id": _without("request_id"),
        "bare record": Altered(_record),
        "empty object": json_reply({}),
        "empty array": json_reply([]),
        "null": json_reply(None),
        "empty body": Reply(200, _JSON),
        "two objects": Altered(_twice),
        "not JSON": Reply(200, _JSON, b"OK"),
        "cut JSON": Altered(lambda document: json_reply(document).body[:-9]),
        "invalid UTF-8": Altered(
            lambda document: json_reply(document).body.replace(b"AAAA", b"\xff")
        ),
        "deep nesting": Reply(200, _JSON, _DEEP),
        "bad gzip": Reply(200, _GZIP, b"\x1f\x8b\x08\x00 not gzip"),
        "error that is not JSON": Reply(500, {"Content-Type": "text/plain"}, b"oops"),
        "error that says it is JSON": Reply(500, _JSON, b"<html>"),
        "not found": relay_error(404, "request not found"),
        "bad request": relay_error(400, "invalid request_id"),
        "unprocessable": json_reply({"detail": "invalid request_id"}, 422),
        "redirect elsewhere": Reply(307, {"Location": "https://elsewhere.example/"}),
        "300 headers": Reply(200, [(f"X-Header-{n}", "x") for n in range(300)]),
        "header of 100 KB": Reply(200, {"X-Header": "x" * 100_000}),
    }
)
"""Answers that break a client which trusts the gateway, by name."""

TRANSPORT_FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        "dropped": DROP,
        "reset": RESET,
        "truncated": TRUNCATE,
        "hanging": HANG,
    }
)
"""Broken connections, by name."""

FAULTS: Mapping[str, Fault] = MappingProxyType(
    {
        **RELAY_ERRORS,
        **ODD_ANSWERS,
        **TRANSPORT_FAULTS,
    }
)
"""Every ready-made fault, by name."""

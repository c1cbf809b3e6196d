"""The wire: what each status and body means, row by row as the contract's tables have it."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest

from ideogram_async import (
    APIStatusError,
    AuthenticationError,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestNotFound,
)
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer, Fault, FaultKind
from ideogram_async._protocol.query import PATH, encode_query
from tests.support.answers import DOCUMENTED, ID, body_of, encoded

JSON = {"Content-Type": "application/json; charset=utf-8"}
HTML = {"Content-Type": "text/html"}
PROBLEM = {"Content-Type": "application/problem+json"}
PAGE = b"<!DOCTYPE html>\n<html><head><title>502</title></head></html>"


def ask(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Answer | Fault:
    """Read an answer to the query for `ID`."""
    return read_answer(ID, status, headers or {}, body)


def fault(status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> Fault:
    """Read an answer that is none."""
    outcome = ask(status, body, headers)
    assert isinstance(outcome, Fault)
    return outcome


def relay(message: str, kind: str = "one_api_error", **more: object) -> bytes:
    """Encode an error in the form of the relay."""
    return json.dumps({"error": {"message": message, "type": kind, **more}}).encode()


class Row(NamedTuple):
    """One line of the error table, and what is made of it."""

    status: int
    body: bytes
    headers: dict[str, str]
    kind: FaultKind
    error: type[IdeogramError]
    retryable: bool
    told: str
    """What the message holds of the gateway's own words."""
    retry_after: float | None = None


_QUOTA = relay("用户额度不足", code="insufficient_user_quota")
_NEW, _SHELL = "new_api_error", "shell_api_error"
_LIMITED = relay("请求过于频繁")
_UPSTREAM = relay("", "upstream_error", param="502", code="bad_response_status_code")
_TASK = encoded({"code": "quota_not_enough", "message": "余额不足", "data": None})
_OTHER_TASK = encoded({"code": "task_failed", "message": "x", "data": None})
_TITLED = encoded({"type": "about:blank", "title": "Access denied", "status": 403})
_DETAILED = encoded({"title": "Error 522", "status": 522, "detail": "origin timed out"})
_AFTER_30 = {**PROBLEM, "Retry-After": "30"}
_INVALID_URL = relay(f"Invalid URL (POST {PATH})", "invalid_request_error")
_SUCCESS_FALSE = encoded({"success": False, "message": "无权进行此操作"})

_KEY, _THROTTLE, _MOMENT = FaultKind.REFUSED, FaultKind.THROTTLED, FaultKind.TRANSIENT
_ADDRESS, _DOUBT = FaultKind.ADDRESS, FaultKind.DOUBTFUL_ADDRESS
_THIS_ID = FaultKind.UNKNOWN_ID
_Refused, _Denied, _Server = AuthenticationError, PermissionDeniedError, InternalServerError
_Invalid = InvalidResponseError

ROWS = {
    "bad token": Row(401, relay("无效的令牌"), JSON, _KEY, _Refused, False, "无效的令牌"),
    "bad token, new": Row(401, relay("bad", _NEW, code=""), JSON, _KEY, _Refused, False, "bad"),
    "bad token, shell": Row(401, relay("bad", _SHELL, code=1), JSON, _KEY, _Refused, False, "bad"),
    "no token, no body": Row(401, b"", {}, _KEY, _Refused, False, "no message"),
    "token's quota": Row(401, relay("该令牌额度已用尽"), JSON, _KEY, _Refused, False, "额度"),
    "account's quota": Row(403, _QUOTA, JSON, _KEY, _Refused, False, "额度"),
    "account's quota, 429": Row(429, _QUOTA, JSON, _KEY, _Refused, False, "额度"),
    "no channel": Row(
        503, relay("无可用渠道", code="model_not_found"), JSON, _THROTTLE, _Server, True, "渠道"
    ),
    "saturated": Row(
        429, relay("当前分组上游负载已饱和"), JSON, _THROTTLE, RateLimitError, True, "饱和"
    ),
    "limit by IP": Row(429, b"", {}, _THROTTLE, RateLimitError, True, "no message"),
    "limit twice over": Row(429, _LIMITED * 2, JSON, _THROTTLE, RateLimitError, True, "频繁"),
    "upstream sent HTML": Row(502, _UPSTREAM, JSON, _MOMENT, _Server, True, "no message"),
    "upstream sent HTML, 404": Row(
        404, _UPSTREAM, JSON, _THIS_ID, RequestNotFound, False, "no message"
    ),
    "unknown path": Row(404, _INVALID_URL, JSON, _ADDRESS, NotFoundError, False, "Invalid URL"),
    "relay's web page": Row(200, PAGE, HTML, _DOUBT, _Invalid, True, "web page"),
    "dashboard": Row(200, _SUCCESS_FALSE, JSON, _MOMENT, _Invalid, True, "无权进行此操作"),
    "task style": Row(400, _TASK, JSON, _KEY, _Refused, False, "余额不足"),
    "task style, 500": Row(500, _OTHER_TASK, JSON, _MOMENT, _Server, True, "x"),
    "nginx": Row(503, PAGE, HTML, _THROTTLE, _Server, True, "web page"),
    "CDN 403": Row(403, PAGE, HTML, _MOMENT, _Denied, True, "web page"),
    "CDN 403, problem": Row(403, _TITLED, PROBLEM, _MOMENT, _Denied, True, "Access denied"),
    "CDN 502": Row(502, PAGE, HTML, _MOMENT, _Server, True, "web page"),
    "CDN 504, problem": Row(504, _TITLED, _AFTER_30, _MOMENT, _Server, True, "Access denied", 30.0),
    "CDN 503, problem": Row(503, _TITLED, _AFTER_30, _THROTTLE, _Server, True, "denied", 30.0),
    **{
        f"CDN {status}": Row(status, PAGE, HTML, _MOMENT, _Server, True, "web page")
        for status in range(520, 527)
    },
    "payment": Row(402, b"", {}, _KEY, _Refused, False, "no message"),
    "quota as a type, 429": Row(
        429, relay("used up", "insufficient_quota"), JSON, _KEY, _Refused, False, "used up"
    ),
    "quota that a relay passes on": Row(
        429, _QUOTA, {**JSON, "Retry-After": "7"}, _THROTTLE, RateLimitError, True, "额度", 7.0
    ),
    "gone": Row(410, b"", {}, _THIS_ID, RequestNotFound, False, "no message"),
    "legal reasons": Row(451, b"", {}, _THIS_ID, RequestNotFound, False, "no message"),
    "a web server's own 404": Row(404, PAGE, HTML, _DOUBT, NotFoundError, False, "web page"),
    "a web server's own 400": Row(400, PAGE, HTML, _DOUBT, APIStatusError, True, "web page"),
    **{
        f"wrong route {status}": Row(status, b"", {}, _DOUBT, APIStatusError, True, "no message")
        for status in (405, 413, 421, 431)
    },
    "wrong route 501": Row(501, b"", {}, _DOUBT, _Server, True, "no message"),
    "not modified": Row(304, b"", {}, _MOMENT, APIStatusError, True, "no message"),
    "a status in a 200": Row(
        200,
        encoded({"code": 429, "msg": "slow down"}),
        JSON,
        _THROTTLE,
        RateLimitError,
        True,
        "slow",
    ),
    "a status in digits in a 200": Row(
        200, encoded({"code": "500", "message": "oops"}), JSON, _MOMENT, _Server, True, "oops"
    ),
    "plain text": Row(
        500, b"upstream is out", {"Content-Type": "text/plain"}, _MOMENT, _Server, True, "is out"
    ),
    **{
        f"words under {where}": Row(
            500, encoded(document), JSON, _MOMENT, _Server, True, "the words"
        )
        for where, document in {
            "msg": {"msg": "the words"},
            "description": {"description": "the words"},
            "errMsg": {"errMsg": "the words"},
            "errors": {"errors": ["the words"]},
            "detail": {"detail": [{"msg": "the words"}]},
        }.items()
    },
    "CDN 522, problem": Row(522, _DETAILED, _AFTER_30, _MOMENT, _Server, True, "timed out", 30.0),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=ROWS)
def test_the_error_table(row: Row) -> None:
    """Each row of the contract's error table means what it says, in the gateway's own words."""
    found = fault(row.status, row.body, row.headers)
    error = found.error
    assert found.kind is row.kind
    assert type(error) is row.error
    assert error.retryable is row.retryable
    assert error.retry_after == row.retry_after
    assert row.told in str(error)
    in_200 = 429 if "slow" in row.told else 500
    assert error.status in {row.status, in_200 if row.status == 200 else row.status}
    assert error.request_id == ID
    assert not found.is_misplaced


# What each means for us


@pytest.mark.parametrize("status", [200, 202, 400, 402, 403, 404, 422, 429, 500, 503, 529])
def test_a_used_up_quota_refuses_the_key_on_any_status(status: int) -> None:
    """`insufficient_user_quota` puts the key out of use, whatever status it comes with."""
    found = fault(status, _QUOTA, JSON)
    assert found.kind is FaultKind.REFUSED
    assert type(found.error) is AuthenticationError


@pytest.mark.parametrize("body", [b"", PAGE, _LIMITED, b"{}", b"[]"])
def test_401_refuses_the_key_whatever_it_holds(body: bytes) -> None:
    """A key goes out of use by 401 alone, without a body to explain it."""
    assert fault(401, body).kind is FaultKind.REFUSED


@pytest.mark.parametrize(
    ("body", "headers", "kind"),
    [
        (relay("no access"), JSON, FaultKind.REFUSED),
        (relay("no access"), {}, FaultKind.REFUSED),
        (encoded({"code": "forbidden", "message": "no"}), JSON, FaultKind.REFUSED),
        (relay("no access"), PROBLEM, FaultKind.TRANSIENT),
        (relay("no access"), HTML, FaultKind.TRANSIENT),
        (PAGE, JSON, FaultKind.TRANSIENT),
        (b"\xef\xbb\xbf\n" + PAGE, {}, FaultKind.TRANSIENT),
        (b"", {}, FaultKind.TRANSIENT),
        (_TITLED, JSON, FaultKind.TRANSIENT),
        (_SUCCESS_FALSE, JSON, FaultKind.TRANSIENT),
    ],
)
def test_403_refuses_the_key_in_the_relays_words_alone(
    body: bytes, headers: dict[str, str], kind: FaultKind
) -> None:
    """The relay's JSON error with 403 is the key's; a web page or a problem document is not."""
    found = fault(403, body, headers)
    assert found.kind is kind
    refused = kind is FaultKind.REFUSED
    assert type(found.error) is (AuthenticationError if refused else PermissionDeniedError)


@pytest.mark.parametrize("status", [500, 502, 504, 505, 507, 520, 530, 599, 408, 409, 418])
def test_other_errors_concern_the_moment(status: int) -> None:
    """5xx, and what no table lists, is transient, whatever the body."""
    for body in (b"", PAGE, relay("x"), b"\xff{", _SUCCESS_FALSE):
        found = fault(status, body)
        assert found.kind is FaultKind.TRANSIENT
        assert found.error.retryable
        assert type(found.error) is (InternalServerError if status >= 500 else APIStatusError)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("body", [b"", PAGE, relay("x"), b"\xff{"])
def test_429_and_503_concern_the_session(status: int, body: bytes) -> None:
    """Both are a throttle's answers (nginx gives 503), and `Retry-After` is read with either."""
    found = fault(status, body, {"Retry-After": "7"})
    assert found.kind is FaultKind.THROTTLED
    assert found.error.retry_after == 7.0


@pytest.mark.parametrize("status", [404, 400, 410, 422, 451])
@pytest.mark.parametrize(
    "body", [b"", relay("request not found"), encoded({"detail": "bad id"}), b"[]"]
)
def test_words_that_an_id_is_unknown_concern_the_one_id(status: int, body: bytes) -> None:
    """Such a status, where it is not `Invalid URL`, says that the gateway does not know the id."""
    found = fault(status, body, JSON)
    assert found.kind is FaultKind.UNKNOWN_ID
    assert type(found.error) is RequestNotFound
    assert isinstance(found.error, NotFoundError)


@pytest.mark.parametrize("status", [400, 422])
def test_invalid_url_is_the_address_with_404_alone(status: int) -> None:
    """What the relay says of its own paths means nothing with another status."""
    assert fault(status, _INVALID_URL, JSON).kind is FaultKind.UNKNOWN_ID


def test_an_empty_list_concerns_the_one_id() -> None:
    """An empty list is how a gateway may say that it does not know an id, or not yet."""
    found = fault(200, body_of(), JSON)
    assert found.kind is FaultKind.UNKNOWN_ID
    assert type(found.error) is RequestNotFound
    assert not found.is_misplaced


def test_invalid_url_on_another_status_is_no_wrong_address() -> None:
    """Only the relay's own 404 says that the path is unknown."""
    assert fault(400, _INVALID_URL, JSON).kind is FaultKind.UNKNOWN_ID


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://elsewhere.example/login?next=/", "https://elsewhere.example"),
        ("https://user:secret@elsewhere.example:8443/a", "https://elsewhere.example:8443"),
        ("//elsewhere.example#top", "//elsewhere.example"),
        ("/login?next=https://gateway.example", "/login"),
        ("\x1b[31mhttps://\u202eelsewhere.example/", "[31mhttps:// elsewhere.example/"),
        ("", "nowhere"),
        (None, "nowhere"),
    ],
)
def test_any_redirect_is_a_wrong_address(location: str | None, named: str) -> None:
    """A redirect says where it points, without what may be secret of that."""
    for status in (300, 301, 302, 303, 307, 308, 399):
        found = fault(status, b"", {} if location is None else {"Location": location})
        assert found.kind is FaultKind.ADDRESS
        told = str(found.error)
        assert f"{status}: redirected to {named}" in told
        assert "secret" not in told
        assert told.isprintable()


@pytest.mark.parametrize("headers", [HTML, {}, JSON])
def test_a_web_page_with_200_is_doubtful(headers: dict[str, str]) -> None:
    """HTML with 200 makes the address doubtful: a path that the relay hands to its own page."""
    assert fault(200, PAGE, headers).kind is FaultKind.DOUBTFUL_ADDRESS


@pytest.mark.parametrize(
    "document", [{"sampling_requests": None}, {"code": 0, "data": {"sampling_requests": []}}]
)
def test_a_null_list_and_a_wrapped_one_are_read(document: dict[str, object]) -> None:
    """A null list is an empty one, and a list that a relay has wrapped is the answer's."""
    assert fault(200, encoded(document), JSON).kind is FaultKind.UNKNOWN_ID


def test_a_wrapped_record_is_read() -> None:
    """A record that a relay has wrapped in `data` is the answer."""
    wrapped = {"code": 0, "data": json.loads(body_of(DOCUMENTED))}
    assert isinstance(ask(200, encoded(wrapped), JSON), Answer)


def test_a_good_answer_counts_whatever_its_content_type() -> None:
    """An answer that holds the record is one, whatever its headers say of it."""
    assert isinstance(ask(200, body_of(DOCUMENTED), HTML), Answer)


@pytest.mark.parametrize("status", [200, 201, 203, 206, 299])
def test_any_2xx_is_read(status: int) -> None:
    """Every 2xx may bring the record."""
    assert isinstance(ask(status, body_of(DOCUMENTED)), Answer)


@pytest.mark.parametrize("status", [100, 101, 199, 300, 304, 400, 401, 404, 429, 500, 503, 599])
def test_no_other_status_is_an_answer(status: int) -> None:
    """A complete record with any other status is no answer: only a 2xx can tell completion."""
    assert isinstance(ask(status, body_of(DOCUMENTED)), Fault)


def test_the_query_goes_where_and_as_documented() -> None:
    """The query's path and body are the documents' own."""
    assert PATH == "/api/ideogram/task-request"
    assert encode_query(ID) == b'{"request_id":"%s"}' % ID.encode()

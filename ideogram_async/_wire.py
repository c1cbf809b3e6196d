"""The wire without I/O: an id to the bytes of a query, an answer to what it means.

"Documented" facts stand in the gateways' two API documents; "seen" ones in captured traffic or in
the source of such gateways; the rest is inferred, so it is tolerated rather than relied on.
"""

from __future__ import annotations

import enum
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Any

import msgspec

from ideogram_async import _salvage
from ideogram_async._errors import (
    APIStatusError,
    AuthenticationError,
    BaseURLError,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestNotFound,
)
from ideogram_async._models import SamplingRequest
from ideogram_async._text import clean

PATH = "/api/ideogram/task-request"
"""Where queries are posted (documented)."""

RETRY_AFTER_CAP = 300.0
"""Seconds: a gateway that asks for longer is asked again after these."""

_QUOTA_CODES = frozenset({"insufficient_user_quota", "quota_not_enough"})
_encode = msgspec.json.Encoder().encode


class Verdict(enum.Enum):
    """Whom a faulty answer concerns."""

    TRANSIENT = "the moment: ask this id again"
    THROTTLED = "the session: too many queries"
    REFUSED = "the key"
    ADDRESS = "the client: nothing here takes queries"
    UNKNOWN_ID = "this id: the gateway does not know it"
    MALFORMED = "this answer: it is none"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A good answer: the record of the id that was asked."""

    record: SamplingRequest
    server_time: float | None


class Fault(msgspec.Struct, frozen=True):
    """Any other answer: whom it concerns, and the error that says so."""

    verdict: Verdict
    error: IdeogramError
    html: bool = False
    """A web page where JSON was expected: the address may be wrong."""
    foreign: bool = False
    """It speaks of other ids: the connection is out of step and must be closed."""


class _Envelope(msgspec.Struct, gc=False):
    sampling_requests: list[SamplingRequest]


_decode = msgspec.json.Decoder(_Envelope).decode


def encode_query(request_id: str) -> bytes:
    """Make the body of the query for an id (documented: one id a query, no bulk form)."""
    return b'{"request_id":' + _encode(request_id) + b"}"


def read_answer(
    request_id: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Iterable[str] = (),
    base_url: str = "",
) -> Answer | Fault:
    """Say what an answer to the query for `request_id` means. Never raises.

    `secrets` are struck out wherever the gateway echoes them; `base_url` is named where the
    address is wrong.
    """
    if not 200 <= status < 300:
        return _Refusal(request_id, status, headers, body, secrets, base_url).fault()
    try:
        records = _decode(body).sampling_requests
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        salvaged = _salvage.records(body)
        if salvaged is None:
            return _no_answer(request_id, status, headers, body, secrets)
        records = salvaged
    for record in records:
        if record.request_id == request_id:
            return Answer(record, http_date(headers.get("Date")))
    return _no_record(request_id, status, empty=not records)


def _no_record(request_id: str, status: int, *, empty: bool) -> Fault:
    if empty:  # inferred: what a gateway answers for an id that it does not know, or not yet
        error: IdeogramError = RequestNotFound(
            "the gateway answered with an empty list", request_id=request_id, status=status
        )
        return Fault(Verdict.UNKNOWN_ID, error)
    error = InvalidResponseError(
        "the answer holds records of other ids alone", request_id=request_id, status=status
    )
    return Fault(Verdict.MALFORMED, error, foreign=True)


def _no_answer(
    request_id: str, status: int, headers: Mapping[str, str], body: bytes, secrets: Iterable[str]
) -> Fault:
    """Read a 2xx without a list of records."""
    if _is_html(headers, body):  # seen: a path that the relay hands to its own web page
        html_error = InvalidResponseError(
            "a web page came with status 200", request_id=request_id, status=status
        )
        return Fault(Verdict.TRANSIENT, html_error, html=True)
    document = _salvage.first_object(body)
    code, message = _code_and_message(document)
    told = clean(message, secrets) or "no JSON object with a list of sampling_requests"
    if code in _QUOTA_CODES:
        error: IdeogramError = AuthenticationError(told, request_id=request_id, status=status)
        return Fault(Verdict.REFUSED, error)
    error = InvalidResponseError(told, request_id=request_id, status=status)
    if document.get("success") is False:  # seen: refused by the relay's dashboard
        return Fault(Verdict.TRANSIENT, error)
    return Fault(Verdict.MALFORMED, error)


class _Refusal(msgspec.Struct):
    """An answer whose status is no success."""

    request_id: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: Iterable[str]
    base_url: str

    def fault(self) -> Fault:
        """Map it, by the table of what each status was seen to mean."""
        document = _salvage.first_object(self.body)
        code, message = _code_and_message(document)
        told = clean(message, self.secrets)
        if self.status < 400:  # the endpoint never redirects; a key must not follow one
            return Fault(Verdict.ADDRESS, self._wrong_address(self._redirect()))
        if self.status == 404 and message.startswith("Invalid URL"):  # seen: the relay's own 404
            return Fault(Verdict.ADDRESS, self._wrong_address(f"404: {told}"))
        verdict = self._verdict(code, relayed="error" in document or "code" in document)
        return Fault(verdict, self._error(verdict, told))

    def _verdict(self, code: str, *, relayed: bool) -> Verdict:
        if self.status == 401 or code in _QUOTA_CODES:  # seen: 401 also for a token's used-up quota
            return Verdict.REFUSED
        if self.status == 403 and relayed and not self._is_problem():
            return Verdict.REFUSED  # seen: the relay's own; a CDN's is HTML or RFC 9457
        if self.status in {429, 503}:  # seen: nginx limit_req answers 503
            return Verdict.THROTTLED
        if self.status in {400, 404, 422}:
            return Verdict.UNKNOWN_ID
        return Verdict.TRANSIENT

    def _error(self, verdict: Verdict, told: str) -> IdeogramError:
        return _ERRORS.get(verdict, _by_status(self.status))(
            f"{self.status}: {told}" if told else f"{self.status}, with no message",
            request_id=self.request_id,
            status=self.status,
            retry_after=retry_after(self.headers),
        )

    def _wrong_address(self, what: str) -> BaseURLError:
        return BaseURLError(
            f"base_url {self.base_url!r} takes no queries ({what})",
            request_id=self.request_id,
            status=self.status,
        )

    def _redirect(self) -> str:
        target = clean(self.headers.get("Location", ""), self.secrets)
        origin = "/".join(target.split("/", 3)[:3]).split("?", 1)[0]
        return f"{self.status}: redirected to {origin or 'nowhere'}"

    def _is_problem(self) -> bool:
        content_type = self.headers.get("Content-Type", "").lower()
        return "problem+json" in content_type or _is_html(self.headers, self.body)


_ERRORS: dict[Verdict, type[APIStatusError]] = {
    Verdict.REFUSED: AuthenticationError,
    Verdict.UNKNOWN_ID: RequestNotFound,
}


def _by_status(status: int) -> type[APIStatusError]:
    if status >= 500:
        return InternalServerError
    by_status: dict[int, type[APIStatusError]] = {
        403: PermissionDeniedError,
        404: NotFoundError,
        429: RateLimitError,
    }
    return by_status.get(status, APIStatusError)


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body.lstrip()[:1] == b"<"


def _code_and_message(document: Mapping[str, Any]) -> tuple[str, str]:
    """Find both in the shapes that were seen: the relay's `error`, a task's, RFC 9457's."""
    error = document.get("error")
    inner = error if isinstance(error, dict) else document
    words = (inner.get(key) for key in ("message", "detail", "title"))
    message = next((word for word in words if isinstance(word, str) and word), "")
    if not message and isinstance(error, str):
        message = error
    code = inner.get("code")  # seen: a string, "", a number, or missing
    return (code if isinstance(code, str) else ""), message


@lru_cache(maxsize=64)  # the header repeats for a second, and parsing costs more than decoding
def http_date(value: str | None) -> float | None:
    """Read an HTTP date as seconds of Unix time, or None."""
    if not value:
        return None
    try:
        parsed = parsedate_to_datetime(value)
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, IndexError, OverflowError):
        return None


def retry_after(
    headers: Mapping[str, str], wall_clock: Callable[[], float] = time.time
) -> float | None:
    """Read `Retry-After` (RFC 9110: seconds, or an HTTP date) as 0 to 300 seconds, or None.

    A date is measured against the answer's own `Date`, so that the clocks need not agree;
    `wall_clock` serves where there is none.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_CAP)
    until = http_date(value)
    if until is None:
        return None
    now = http_date(headers.get("Date"))
    return min(max(until - (wall_clock() if now is None else now), 0.0), RETRY_AFTER_CAP)

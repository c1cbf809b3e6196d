"""The wire without I/O: an id to the bytes of a query, an answer to what it means.

"Documented" facts stand in the gateways' two API documents; "seen" ones in captured traffic or in
the source of such gateways; the rest is inferred, so it is tolerated rather than relied on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import msgspec

from ideogram_async._errors import (
    APIStatusError,
    AuthenticationError,
    BaseURLError,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    PermissionDeniedError,
    RateLimitError,
    RequestNotFound,
)
from ideogram_async._models import SamplingRequest
from ideogram_async._protocol import lenient
from ideogram_async._protocol.headers import http_date, retry_after
from ideogram_async._protocol.outcome import Answer, Envelope, Fault, FaultKind
from ideogram_async._protocol.sanitize import clean

_SUCCESS = range(200, 300)
_REDIRECTION = range(300, 400)
_QUOTA_CODES = frozenset({"insufficient_user_quota", "quota_not_enough"})
_BLANKS = b"\xef\xbb\xbf \t\r\n"


_decode = msgspec.json.Decoder(Envelope).decode
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(
    request_id: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str] = (),
    base_url: str = "",
) -> Answer | Fault:
    """Say what an answer to the query for `request_id` means. Never raises.

    `secrets` are struck out wherever the gateway echoes them; `base_url` is named where the
    address is wrong.
    """
    if status not in _SUCCESS:
        return _Refusal(request_id, status, headers, body, secrets, base_url).fault()
    try:
        records = _decode(body).sampling_requests
    except _NOT_DECODED:
        salvaged = lenient.records(body)
        if salvaged is None:
            return _no_answer(request_id, status, headers, body, secrets)
        records = salvaged
    for record in records:
        if record.request_id == request_id:
            return Answer(record, http_date(headers.get("Date")), status, body)
    return _no_record(request_id, status, empty=not records)


def record_of(request_id: str, body: bytes) -> SamplingRequest | None:
    """Read the record of an id once more, from an answer that was kept."""
    answer = read_answer(request_id, HTTPStatus.OK, {}, body)
    return answer.record if isinstance(answer, Answer) else None


def _no_record(request_id: str, status: int, *, empty: bool) -> Fault:
    if empty:  # inferred: what a gateway answers for an id that it does not know, or not yet
        error: IdeogramError = RequestNotFound(
            "the gateway answered with an empty list", request_id=request_id, status=status
        )
        return Fault(FaultKind.UNKNOWN_ID, error)
    error = InvalidResponseError(
        "the answer holds no record of this id", request_id=request_id, status=status
    )
    return Fault(FaultKind.MALFORMED, error, foreign=True)


def _no_answer(
    request_id: str, status: int, headers: Mapping[str, str], body: bytes, secrets: Sequence[str]
) -> Fault:
    """Read a 2xx without a list of records."""
    wait = retry_after(headers)
    if _is_html(headers, body):  # seen: a path that the relay hands to its own web page
        html_error = InvalidResponseError(
            f"a web page came with status {status}",
            request_id=request_id,
            status=status,
            retry_after=wait,
        )
        return Fault(FaultKind.TRANSIENT, html_error, html=True)
    document = lenient.first_object(body)
    code, message = _code_and_message(document)
    told = clean(message, secrets) or "no JSON object with a list of sampling_requests"
    if code in _QUOTA_CODES:
        refusal = AuthenticationError(told, request_id=request_id, status=status, retry_after=wait)
        return Fault(FaultKind.REFUSED, refusal)
    error = InvalidResponseError(told, request_id=request_id, status=status, retry_after=wait)
    if document.get("success") is False:  # seen: refused by the relay's dashboard
        return Fault(FaultKind.TRANSIENT, error)
    return Fault(FaultKind.MALFORMED, error)


class _Refusal(msgspec.Struct):
    """An answer whose status is no success."""

    request_id: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: Sequence[str]
    base_url: str

    def fault(self) -> Fault:
        """Map it, by the table of what each status was seen to mean."""
        document = lenient.first_object(self.body)
        code, message = _code_and_message(document)
        told = clean(message, self.secrets)
        if self.status in _REDIRECTION:  # the endpoint never redirects; a key must not follow one
            return Fault(FaultKind.ADDRESS, self._wrong_address(self._redirect()))
        if self.status == HTTPStatus.NOT_FOUND and message.startswith("Invalid URL"):  # seen
            return Fault(FaultKind.ADDRESS, self._wrong_address(f"404: {told}"))
        kind = self._verdict(code, relayed="error" in document or "code" in document)
        return Fault(kind, self._error(kind, told))

    def _verdict(self, code: str, *, relayed: bool) -> FaultKind:
        if self.status == HTTPStatus.UNAUTHORIZED or code in _QUOTA_CODES:
            return FaultKind.REFUSED  # seen: 401 also for a token's used-up quota
        if self.status == HTTPStatus.FORBIDDEN and relayed and not self._is_problem():
            return FaultKind.REFUSED  # seen: the relay's own; a CDN's is HTML or RFC 9457
        return _VERDICTS.get(self.status, FaultKind.TRANSIENT)

    def _error(self, kind: FaultKind, told: str) -> IdeogramError:
        return _ERRORS.get(kind, _by_status(self.status))(
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
        place = re.split(r"[?#]", target, maxsplit=1)[0]
        origin = re.match(r"([a-z][a-z0-9+.-]*:)?//([^/\\]*)", place, re.IGNORECASE)
        if origin:  # without what may stand there of a user and a password
            place = f"{origin[1] or ''}//{origin[2].rpartition('@')[2]}"
        return f"{self.status}: redirected to {place or 'nowhere'}"

    def _is_problem(self) -> bool:
        content_type = self.headers.get("Content-Type", "").lower()
        return "problem+json" in content_type or _is_html(self.headers, self.body)


_VERDICTS: dict[int, FaultKind] = {
    HTTPStatus.TOO_MANY_REQUESTS: FaultKind.THROTTLED,
    HTTPStatus.SERVICE_UNAVAILABLE: FaultKind.THROTTLED,  # seen: nginx limit_req
    HTTPStatus.BAD_REQUEST: FaultKind.UNKNOWN_ID,
    HTTPStatus.NOT_FOUND: FaultKind.UNKNOWN_ID,
    HTTPStatus.UNPROCESSABLE_ENTITY: FaultKind.UNKNOWN_ID,
}
_ERRORS: dict[FaultKind, type[APIStatusError]] = {
    FaultKind.REFUSED: AuthenticationError,
    FaultKind.UNKNOWN_ID: RequestNotFound,
}


def _by_status(status: int) -> type[APIStatusError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return InternalServerError
    by_status: dict[int, type[APIStatusError]] = {
        HTTPStatus.FORBIDDEN: PermissionDeniedError,
        HTTPStatus.TOO_MANY_REQUESTS: RateLimitError,
    }
    return by_status.get(status, APIStatusError)


def _is_html(headers: Mapping[str, str], body: bytes) -> bool:
    return "html" in headers.get("Content-Type", "").lower() or body.lstrip(_BLANKS)[:1] == b"<"


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

"""What an answer says: its status, headers and body to a good answer or a fault.

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
    InternalServerError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestError,
    RequestNotFound,
)
from ideogram_async._models import SamplingRequest
from ideogram_async._protocol import lenient
from ideogram_async._protocol.headers import allowance, has_allowance, http_date, retry_after
from ideogram_async._protocol.outcome import Answer, Envelope, Fault, FaultKind
from ideogram_async._protocol.sanitize import clean

_SUCCESS = range(200, 300)
_REDIRECTION = range(300, 400)
_ERROR = range(400, 600)
_QUOTA_WORDS = frozenset(
    {
        "insufficient_quota",
        "insufficient_user_quota",
        "pre_consume_token_quota_failed",
        "quota_exceeded",
        "quota_not_enough",
    }
)
"""Codes and types that say that a quota is used up (seen, but for `quota_exceeded`)."""
_BLANKS = b"\xef\xbb\xbf \t\r\n"
_LONGEST_PLAIN_TEXT = 500
"""Bytes of a plain text up to which it is taken for the gateway's message."""

_decode = msgspec.json.Decoder(Envelope).decode
_NOT_DECODED = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def read_answer(
    request_id: str,
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    secrets: Sequence[str] = (),
) -> Answer | Fault:
    """Return what an answer to the query for `request_id` says. Never raises.

    `secrets` are struck out wherever the gateway echoes them.
    """
    if status not in _SUCCESS:
        return _Failure(request_id, status, headers, body, secrets).fault()
    try:
        records = _decode(body).sampling_requests or []
    except _NOT_DECODED:
        lenient_records = lenient.records(body)
        if lenient_records is None:
            return _Failure(request_id, status, headers, body, secrets).fault_of_success()
        records = lenient_records
    for record in records:
        if record.request_id == request_id:
            wait = retry_after(headers) if "Retry-After" in headers else None
            told = allowance(headers) if has_allowance(headers) else None
            return Answer(record, http_date(headers.get("Date")), status, body, wait, told)
    return _no_record(request_id, status, empty=not records)


def read_good_answer(request_id: str, date: str, body: bytes) -> Answer | None:
    """Return the answer of status 200 that a body is, if it holds a record of the id, else None.

    As `read_answer` for an answer that has no header of a limit, in half the time.
    """
    try:
        records = _decode(body).sampling_requests or []
    except _NOT_DECODED:
        return None
    for record in records:
        if record.request_id == request_id:
            return Answer(record, http_date(date), body=body)
    return None


def record_of(request_id: str, body: bytes) -> SamplingRequest | None:
    """Decode the record of an id once more, from an answer that was kept."""
    answer = read_answer(request_id, HTTPStatus.OK, {}, body)
    return answer.record if isinstance(answer, Answer) else None


def _no_record(request_id: str, status: int, *, empty: bool) -> Fault:
    if empty:  # inferred: what a gateway answers for an id that it does not know, or not yet
        error: RequestError = RequestNotFound(
            "the gateway does not know this id: it answered with an empty list",
            request_id=request_id,
            status=status,
        )
        return Fault(FaultKind.UNKNOWN_ID, error)
    error = InvalidResponseError(
        "the answer holds no record of this id", request_id=request_id, status=status
    )
    return Fault(FaultKind.MALFORMED, error, is_misplaced=True)


class _Failure(msgspec.Struct):
    """An answer that holds no record. It is read once, so that speed does not matter."""

    request_id: str
    status: int
    headers: Mapping[str, str]
    body: bytes
    secrets: Sequence[str]

    def fault(self) -> Fault:
        """Read an answer whose status is no success."""
        document = lenient.first_object(self.body)
        words, message = _words_and_message(document)
        told = clean(message, self.secrets) or self._plain_text()
        kind = self._kind(words, document, message)
        if kind is FaultKind.ADDRESS and self.status in _REDIRECTION:
            told = self._redirect()
        elif self._is_html():
            told = "a web page"
        return Fault(kind, self._error(kind, told), allowance=allowance(self.headers))

    def fault_of_success(self) -> Fault:
        """Read an answer with a 2xx status that holds no list of records.

        1. A web page (seen: a path that the relay hands to its own dashboard).
        2. A `code` of 400 to 599: it means what that status would.
        3. A quota that is used up.
        4. `success: false` (seen: refused by the relay's dashboard): a moment's trouble.
        5. Anything else is malformed.
        """
        if self._is_html():
            error = self._invalid(f"a web page came with status {self.status}")
            return Fault(FaultKind.DOUBTFUL_ADDRESS, error)
        document = lenient.first_object(self.body)
        status = _status_in(document)
        if status is not None:
            return msgspec.structs.replace(self, status=status).fault()
        words, message = _words_and_message(document)
        told = clean(message, self.secrets) or "no JSON object with a list of sampling_requests"
        if words & _QUOTA_WORDS:
            kind = self._quota_kind()
            return Fault(kind, self._error(kind, told))
        if document.get("success") is False:
            return Fault(FaultKind.TRANSIENT, self._invalid(told))
        return Fault(FaultKind.MALFORMED, self._invalid(told))

    def _kind(self, words: frozenset[str], document: Mapping[str, Any], message: str) -> FaultKind:
        """Return the kind, by the table of what each status was seen to mean.

        1. A redirect: the endpoint never redirects, and a key must not follow one. 304 is none.
        2. 404 `Invalid URL` (seen): the relay knows no such path.
        3. Quota words refuse the key; with `Retry-After` they are a rate limit that a relay
           passes on.
        4. 401 and 402 refuse the key (seen: 401 also for a token's used-up quota).
        5. 403 refuses the key where it is the relay's own; a CDN's is HTML or RFC 9457.
        6. A web page with 400 or 404 is a web server's own: it knows no such path.
        7. The rest by its status.
        """
        if self._is_wrong_address(message):
            return FaultKind.ADDRESS
        if words & _QUOTA_WORDS:
            return self._quota_kind()
        is_own = ("error" in document or "code" in document) and not self._is_problem()
        if self.status in _REFUSALS or (self.status == HTTPStatus.FORBIDDEN and is_own):
            return FaultKind.REFUSED
        if self.status in _UNKNOWN_PATH and self._is_html():
            return FaultKind.DOUBTFUL_ADDRESS
        return _KINDS.get(self.status, FaultKind.TRANSIENT)

    def _is_wrong_address(self, message: str) -> bool:
        if self.status in _REDIRECTION:
            return self.status != HTTPStatus.NOT_MODIFIED
        return self.status == HTTPStatus.NOT_FOUND and message.startswith("Invalid URL")

    def _quota_kind(self) -> FaultKind:
        return FaultKind.REFUSED if retry_after(self.headers) is None else FaultKind.THROTTLED

    def _error(self, kind: FaultKind, told: str) -> RequestError:
        return _ERRORS.get(kind, _error_class(self.status))(
            f"{self.status}: {told}" if told else f"{self.status}, with no message",
            request_id=self.request_id,
            status=self.status,
            retry_after=retry_after(self.headers),
        )

    def _invalid(self, told: str) -> InvalidResponseError:
        return InvalidResponseError(
            told,
            request_id=self.request_id,
            status=self.status,
            retry_after=retry_after(self.headers),
        )

    def _redirect(self) -> str:
        target = clean(self.headers.get("Location", ""), self.secrets)
        place = re.split(r"[?#]", target, maxsplit=1)[0]
        origin = re.match(r"([a-z][a-z0-9+.-]*:)?//([^/\\]*)", place, re.IGNORECASE)
        if origin:  # without a user and a password, which may stand there
            place = f"{origin[1] or ''}//{origin[2].rpartition('@')[2]}"
        return f"redirected to {place or 'nowhere'}"

    def _plain_text(self) -> str:
        """Return the message of a short plain text."""
        kind = self.headers.get("Content-Type", "").lower()
        if not kind.startswith("text/plain") or len(self.body) > _LONGEST_PLAIN_TEXT:
            return ""
        return clean(self.body.decode(errors="replace"), self.secrets)

    def _is_html(self) -> bool:
        content_type = self.headers.get("Content-Type", "").lower()
        return "html" in content_type or self.body.lstrip(_BLANKS)[:1] == b"<"

    def _is_problem(self) -> bool:
        return "problem+json" in self.headers.get("Content-Type", "").lower() or self._is_html()


_REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.PAYMENT_REQUIRED})
_UNKNOWN_PATH = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND})
_KINDS: dict[int, FaultKind] = {
    HTTPStatus.TOO_MANY_REQUESTS: FaultKind.THROTTLED,
    HTTPStatus.SERVICE_UNAVAILABLE: FaultKind.THROTTLED,  # seen: nginx limit_req
    HTTPStatus.BAD_REQUEST: FaultKind.UNKNOWN_ID,
    HTTPStatus.NOT_FOUND: FaultKind.UNKNOWN_ID,
    HTTPStatus.GONE: FaultKind.UNKNOWN_ID,
    HTTPStatus.UNPROCESSABLE_ENTITY: FaultKind.UNKNOWN_ID,
    HTTPStatus.UNAVAILABLE_FOR_LEGAL_REASONS: FaultKind.UNKNOWN_ID,
    HTTPStatus.METHOD_NOT_ALLOWED: FaultKind.DOUBTFUL_ADDRESS,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: FaultKind.DOUBTFUL_ADDRESS,
    HTTPStatus.MISDIRECTED_REQUEST: FaultKind.DOUBTFUL_ADDRESS,
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: FaultKind.DOUBTFUL_ADDRESS,
    HTTPStatus.NOT_IMPLEMENTED: FaultKind.DOUBTFUL_ADDRESS,
}
_ERRORS: dict[FaultKind, type[APIStatusError]] = {
    FaultKind.REFUSED: AuthenticationError,
    FaultKind.UNKNOWN_ID: RequestNotFound,
}


def _error_class(status: int) -> type[APIStatusError]:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return InternalServerError
    by_status: dict[int, type[APIStatusError]] = {
        HTTPStatus.FORBIDDEN: PermissionDeniedError,
        HTTPStatus.NOT_FOUND: NotFoundError,
        HTTPStatus.TOO_MANY_REQUESTS: RateLimitError,
    }
    return by_status.get(status, APIStatusError)


def _status_in(document: Mapping[str, Any]) -> int | None:
    """Return the status that a 2xx answer names in its `code`, a number or digits."""
    for inner in (document, document.get("error")):
        code = inner.get("code") if isinstance(inner, dict) else None
        if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == len("400"):
            code = int(code)
        if isinstance(code, int) and code in _ERROR:
            return code
    return None


def _words_and_message(document: Mapping[str, Any]) -> tuple[frozenset[str], str]:
    """Return the code and type, and the message, in the shapes that were seen.

    The relay's `error`, a task's, RFC 9457's, and those of web frameworks.
    """
    error = document.get("error")
    inner = error if isinstance(error, dict) else document
    words = frozenset(
        word for key in ("code", "type") if isinstance(word := inner.get(key), str) and word
    )
    return words, next(filter(None, _messages(inner, error)), "")


def _messages(inner: Mapping[str, Any], error: object) -> list[str]:
    candidates = [inner.get(key) for key in ("message", "msg", "description", "errMsg")]
    candidates += [_first(inner.get("errors")), _first(inner.get("detail"))]
    candidates += [inner.get("detail"), inner.get("title"), error]
    return [word for word in candidates if isinstance(word, str)]


def _first(items: object) -> object:
    """Return the words of the first of a list of errors: a text, or its `msg` or `message`."""
    first = items[0] if isinstance(items, list) and items else None
    if isinstance(first, dict):
        return first.get("msg") or first.get("message")
    return first

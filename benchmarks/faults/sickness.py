"""What a sick id, key or gateway answers, by name, and which words an error must show for it."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection
from typing import NamedTuple, TypeAlias

import msgspec

from ideogram_async import IdeogramError
from ideogram_async.testing import (
    DROP,
    HANG,
    TRUNCATE,
    UNAUTHORIZED,
    Fault,
    Query,
    Reply,
    html_reply,
    json_reply,
    relay_error,
)

Judge: TypeAlias = Callable[[Query], Fault | None]
"""What a gateway asks about each query: the fault that it meets, or None."""


class Kind(NamedTuple):
    """One kind of fault."""

    fault: Fault
    words: str
    """A pattern that the message of an error must match, in any case."""

    def of(self, request_id: str | None) -> Fault:
        """Return the fault with a word of the id's own, where its answer has words."""
        if not self._has_own_word:
            return self.fault
        assert isinstance(self.fault, Reply)
        body = self.fault.body.replace(b"@", _own_word(request_id or "").encode())
        return msgspec.structs.replace(self.fault, body=body)

    def is_told(self, error: IdeogramError, request_id: str) -> bool:
        """Return whether an error names the id, and the fault in the id's own words."""
        named = error.request_id == request_id
        own = not self._has_own_word or _own_word(request_id) in str(error)
        return named and own and self.is_named(str(error))

    def is_named(self, words: str) -> bool:
        """Return whether words name the fault."""
        return re.search(self.words, words, re.IGNORECASE) is not None

    @property
    def _has_own_word(self) -> bool:
        return isinstance(self.fault, Reply) and b"@" in self.fault.body


def _own_word(request_id: str) -> str:
    return f"case-{request_id[:6]}"


def failing(status: int, seconds: int | None = None, **fields: object) -> Kind:
    """Return an error in the relay's form, with a word of each id's own; and `Retry-After`."""
    reply = relay_error(status, "out of order: @", **fields)  # type: ignore[arg-type]
    if seconds is not None:
        headers = {**dict(reply.headers), "Retry-After": str(seconds)}
        reply = msgspec.structs.replace(reply, headers=headers)
    return Kind(reply, str(status))


def _page(status: int) -> Kind:
    return Kind(html_reply(status), f"{status}|web page")


KINDS: dict[str, Kind] = {
    "500": failing(500),
    "html-200": _page(200),
    "html-502": _page(502),
    "410": failing(410),
    "drop": Kind(DROP, "closed|disconnected"),
    "truncate": Kind(TRUNCATE, "broke off|cut|incomplete"),
    "429": failing(429),
    "503": failing(503),
    "429-wait": failing(429, 60),
    "503-wait": failing(503, 60),
    "500-wait": failing(500, 60),
    "hang": Kind(HANG, "no (whole )?answer|timed? ?out"),
    # verdicts on an id
    "404": failing(404),
    "400": failing(400),
    "422": failing(422),
    "451": failing(451),
    "empty": Kind(json_reply({"sampling_requests": []}), "empty list"),
    "null": Kind(json_reply({"sampling_requests": None}), "empty list|no list|null"),
    "error-in-200": Kind(json_reply({"error": {"message": "out of order: @"}}), "out of order"),
    "code-in-200": Kind(json_reply({"code": 500, "message": "out of order: @"}), "out of order"),
    # verdicts on a key
    "401": Kind(UNAUTHORIZED, "401"),
    "402": failing(402),
    "403": failing(403),
    "quota-403": failing(403, code="insufficient_user_quota"),
    "quota-429": failing(429, code="insufficient_quota"),
    "quota-429-wait": failing(429, 5, code="insufficient_quota"),
    # verdicts on the address
    "302": Kind(Reply(302, {"Location": "https://elsewhere.example/"}), "302|redirect"),
    "invalid-url": Kind(
        relay_error(404, "Invalid URL (POST /api)", kind="invalid_request_error"), "Invalid URL"
    ),
    "html-503": _page(503),
    "html-400": _page(400),
    "html-404": _page(404),
    "405": failing(405),
    "413": failing(413),
    "421": failing(421),
    "431": failing(431),
    "501": failing(501),
}
"""Each kind by name; `-wait` comes with `Retry-After`."""


def for_ever(kind: Kind, ids: Collection[str], *, since: float = 0.0) -> Judge:
    """Return a judge by which these ids meet a fault each time they are asked."""
    faults = {request_id: kind.of(request_id) for request_id in ids}
    return lambda query: faults.get(query.request_id or "") if query.at >= since else None


def for_all(kind: Kind, *, since: float = 0.0, until: float = math.inf) -> Judge:
    """Return a judge by which every query of a span meets a fault."""
    return lambda query: kind.of(query.request_id) if since <= query.at < until else None


def one_in(kind: Kind, number: int, *, first: int) -> Judge:
    """Return a judge by which one query in so many meets a fault, the first of them given."""
    count = -1

    def judge(query: Query) -> Fault | None:
        nonlocal count
        count += 1
        return kind.of(query.request_id) if count % number == first else None

    return judge


def only_first(kind: Kind) -> Judge:
    """Return a judge by which the very first query meets a fault, and no other."""
    return one_in(kind, 10**9, first=0)


def of_key(kind: Kind, key: str, *, since: float = 0.0, until: float = math.inf) -> Judge:
    """Return a judge by which every query with a key meets a fault in a span."""
    judge = for_all(kind, since=since, until=until)
    return lambda query: judge(query) if query.key == key else None

"""Request ids as callers hand them in, checked."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

Ids = Iterable[str] | AsyncIterable[str]


def check_id(request_id: object) -> str:
    """Check one request id; raise `TypeError` or `ValueError` that says what is wrong with it.

    Ids are opaque: 22 characters of URL-safe base64 were seen, and nothing is made of that.
    """
    if isinstance(request_id, str) and request_id and request_id.isascii():
        return request_id
    if not isinstance(request_id, str):
        raise TypeError(
            f"request id {request_id!r:.80} is a {type(request_id).__name__}: expected a str"
        )
    if not request_id:
        raise ValueError("a request id is empty: expected the id that the gateway gave")
    try:
        request_id.encode()
    except UnicodeEncodeError:
        raise ValueError(f"request id {request_id!r:.80} is not valid Unicode") from None
    return request_id


def check_ids(ids: object) -> Ids:
    """Check that it can be iterated, and is no single id."""
    if isinstance(ids, str | bytes):
        raise TypeError(
            f"ids is a single {type(ids).__name__}: expected an iterable or async iterable of str"
        )
    if not isinstance(ids, Iterable | AsyncIterable):
        raise TypeError(
            f"ids is a {type(ids).__name__}: expected an iterable or async iterable of str"
        )
    return ids

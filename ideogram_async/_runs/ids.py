"""Request ids as callers hand them in, checked."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable

Ids = Iterable[str] | AsyncIterable[str]


def check_id(request_id: object) -> str:
    """Return a request id as a plain `str`, also where it is of a subclass of `str`.

    Ids are opaque: 22 characters of URL-safe base64 were seen, and nothing is concluded from that.

    Raises:
        TypeError: It is no `str`.
        ValueError: It is empty, or it is no text that can be encoded.

    """
    if not isinstance(request_id, str):
        kind = type(request_id).__name__
        raise TypeError(f"request id {short_repr(request_id, 80)} is a {kind}: expected a str")
    if type(request_id) is not str:
        request_id = str.__str__(request_id)  # its own methods may do anything
    if request_id.isascii():
        if not request_id:
            raise ValueError("a request id is empty: expected the id that the gateway gave")
        return request_id
    try:
        request_id.encode()
    except UnicodeEncodeError:
        raise ValueError(f"request id {request_id!r:.80} is not valid Unicode") from None
    return request_id


def check_ids(ids: object) -> Ids:
    """Return a source of ids; raise `TypeError` where it is a single id, or no iterable."""
    if isinstance(ids, str | bytes):
        raise TypeError(
            f"ids is a single {type(ids).__name__}, not an iterable of str: give [id], or call"
            " `await client.wait(id)`"
        )
    if not isinstance(ids, Iterable | AsyncIterable):
        raise TypeError(
            f"ids is a {type(ids).__name__}: expected an iterable or async iterable of str"
        )
    return ids


def short_repr(value: object, longest: int) -> str:
    """Return the start of an object's `repr`, or of the default one where its own fails."""
    try:
        return repr(value)[:longest]
    except Exception:  # noqa: BLE001 - foreign code; an int of 5,000 digits raises, too
        return object.__repr__(value)[:longest]

"""A query: where it is posted, and its body."""

from __future__ import annotations

import msgspec

PATH = "/api/ideogram/task-request"
"""Where queries are posted (documented)."""

_encode = msgspec.json.Encoder().encode


def encode_query(request_id: str) -> bytes:
    """Make the body of the query for an id (documented: one id a query, no bulk form)."""
    return b'{"request_id":' + _encode(request_id) + b"}"

"""Headers of an answer: dates, and how long the gateway asks to wait."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache

RETRY_AFTER_CAP = 300.0
"""Seconds: a gateway that asks for longer is asked again after these."""


@lru_cache(maxsize=64)  # the header repeats for a second, and parsing costs more than decoding
def http_date(value: str | None) -> float | None:
    """Read an HTTP date as seconds of Unix time, or None."""
    if not value or not value.isascii():  # int() would read the digits of every script
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

"""Headers of an answer: dates, how long the gateway asks to wait, and what it says of its limit."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple

RETRY_AFTER_CAP = 300.0
"""Seconds: a gateway that asks for longer is asked again after these."""
LONGEST_VALUE = 200
"""Characters of a header up to which it is read."""
LIMIT_HEADERS = (
    "x-ratelimit-remaining",
    "ratelimit",
    "ratelimit-remaining",
    "x-ratelimit-remaining-requests",
)
"""The headers of which one at least says that more follow on the limit. In lower case: a look-up
costs half."""
_SECONDS = re.compile(r"\d{1,15}(\.\d{1,9})?", re.ASCII)
_DURATION = re.compile(
    r"(\d{1,9}h)?(\d{1,9}m)?(\d{1,9}(\.\d{1,9})?s)?(\d{1,9}(\.\d{1,9})?ms)?", re.ASCII
)
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|h|m|s)", re.ASCII)
_PARAMETER = re.compile(r"\b(limit|remaining|reset|[rtqw])\s*=\s*(\d{1,15})(?![\d.])", re.ASCII)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_EPOCH_SECONDS, _EPOCH_MILLISECONDS = 1e9, 1e12
"""A reset from here on is no duration: it is a moment, in seconds or milliseconds of Unix time."""


class Allowance(NamedTuple):
    """What a gateway says of its limit: so many more queries within so many seconds."""

    remaining: float
    seconds: float


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
    """Read how long the gateway asks to wait, as 0 to 300 seconds, or None. Never raises.

    `Retry-After` has seconds or an HTTP date (RFC 9110). Decimals, rounded up, and
    `retry-after-ms` are read as well (inferred: OpenAI's gateways send the second). A date is
    measured against the answer's own `Date`, so that the clocks need not agree; `wall_clock`
    serves where there is none.
    """
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), RETRY_AFTER_CAP)
    if _SECONDS.fullmatch(value):
        return min(float(math.ceil(float(value))), RETRY_AFTER_CAP)
    milliseconds = headers.get("Retry-After-Ms", "").strip()
    if _SECONDS.fullmatch(milliseconds):
        return min(float(milliseconds) / 1000, RETRY_AFTER_CAP)
    until = http_date(value)
    if until is None:
        return None
    return min(max(until - _now(headers, wall_clock), 0.0), RETRY_AFTER_CAP)


def has_allowance(headers: Mapping[str, str]) -> bool:
    """Return whether the gateway says anything of its limit. Most do not: this is quick."""
    for name in LIMIT_HEADERS:  # noqa: SIM110 - looked at for each query: no generator
        if name in headers:
            return True
    return False


def allowance(
    headers: Mapping[str, str], wall_clock: Callable[[], float] = time.time
) -> Allowance | None:
    """Read what the gateway says of its limit, or None. Never raises.

    1. `RateLimit: "default";r=50;t=30` (RFC draft), or `limit=…, remaining=50, reset=30` (earlier
       drafts).
    2. `RateLimit-Remaining` with `-Reset`, or the same with `X-`, or for requests with `-Requests`
       (documented by OpenAI and others): in seconds, as `6m0s` or `20ms`, or a Unix time.
    3. `RateLimit-Policy: "default";q=100;w=60`: so many in each window.
    """
    value = headers.get("RateLimit")
    if value is not None:
        named = dict(_PARAMETER.findall(value[:LONGEST_VALUE]))
        remaining, reset = (
            named.get("r", named.get("remaining")),
            named.get("t", named.get("reset")),
        )
        if remaining is not None and reset is not None:
            return Allowance(float(remaining), float(reset))
    for prefix, suffix in _NAMES:
        left = headers.get(f"{prefix}-Remaining{suffix}", "").strip()
        seconds = _reset(headers.get(f"{prefix}-Reset{suffix}", "").strip(), headers, wall_clock)
        if _SECONDS.fullmatch(left) and seconds is not None:
            return Allowance(float(left), seconds)
    named = dict(_PARAMETER.findall(headers.get("RateLimit-Policy", "")[:LONGEST_VALUE]))
    if "q" in named and "w" in named:
        return Allowance(float(named["q"]), float(named["w"]))
    return None


_NAMES = (
    ("X-RateLimit", ""),
    ("RateLimit", ""),
    ("X-RateLimit", "-Requests"),
)


def _reset(value: str, headers: Mapping[str, str], wall_clock: Callable[[], float]) -> float | None:
    if not value or len(value) > LONGEST_VALUE:
        return None
    if not _SECONDS.fullmatch(value):
        if not _DURATION.fullmatch(value):
            return None
        return sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(value))
    seconds = float(value)
    if seconds < _EPOCH_SECONDS:
        return seconds
    if seconds >= _EPOCH_MILLISECONDS:
        seconds /= 1000
    return max(seconds - _now(headers, wall_clock), 0.0)


def _now(headers: Mapping[str, str], wall_clock: Callable[[], float]) -> float:
    date = http_date(headers.get("Date"))
    return wall_clock() if date is None else date

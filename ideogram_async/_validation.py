"""Checks of settings and arguments.

A check returns the value, except `check_type`. Its error names the argument, the value, and what
was expected.
"""

from __future__ import annotations

import ipaddress
import math
import sys
from types import UnionType
from urllib.parse import urlsplit

from ideogram_async._protocol.query import PATH

BASE_URL_VARIABLE = "IDEOGRAM_BASE_URL"
LONGEST_HOST = 253
LONGEST_LABEL = 63
"""Characters of a host name, and of each part between its dots (RFC 1035)."""


def check_type(name: str, value: object, kind: type | UnionType, expected: str) -> None:
    """Raise `TypeError` where a value is of another type; True and False are no numbers."""
    is_flag = isinstance(value, bool) and kind in {int, int | float}
    if is_flag or not isinstance(value, kind):
        raise TypeError(f"{name} is a {type(value).__name__}: expected {expected}")


def check_seconds(name: str, value: float | None) -> float | None:
    """Check a time span: seconds > 0, finite, or None for no limit."""
    return None if value is None else _seconds(name, value, "seconds > 0 and finite, or None")


def check_limit(name: str, value: float | None, what: str) -> float:
    """Check the seconds that something may take: there must be a limit."""
    if value is None:
        raise TypeError(f"{name} is None: {what} without a limit could hang forever")
    return _seconds(name, value, "seconds > 0 and finite")


def _seconds(name: str, value: float, expected: str) -> float:
    check_type(name, value, int | float, "a number")
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: expected {expected}")
    return float(value)


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """Return a number of things; raise where it is no int, or below `least`."""
    check_type(name, value, int, "an int")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return value


def check_rate(name: str, value: float) -> float:
    """Check a rate: queries per second > 0; `math.inf` for no limit."""
    check_type(name, value, int | float, "a number")
    if value != math.inf and not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: expected queries per second > 0, or None")
    return float(value)


def check_base_url(
    base_url: str | None, *, allow_http: bool = False, name: str = "base_url"
) -> str:
    """Check the gateway's address. Return it without slashes at its end; a path is kept."""
    if base_url is None:
        raise ValueError(f"no {name}: give the gateway's address, or set {BASE_URL_VARIABLE}")
    check_type(name, base_url, str, "a str")
    base_url = base_url.strip().rstrip("/")
    if "@" in base_url:
        raise ValueError(
            f"{name} holds an @ (not shown): give keys as token or access_token; %40 in a path"
        )
    if "?" in base_url or "#" in base_url:
        raise ValueError(f"{name} has a query or fragment (not shown): expected neither")
    if not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError(
            f"{name} is {base_url!r}: expected no blank, backslash or control character"
        )
    scheme, host = _scheme_and_host(base_url, name)
    if base_url.endswith(PATH):
        raise ValueError(f"{name} {base_url!r} ends in {PATH}: give what comes before it")
    if scheme == "http" and not (allow_http or is_loopback(host)):
        raise ValueError(
            f"{name} {base_url!r} would send the key in clear: use https, or allow_http=True"
        )
    return base_url


def _scheme_and_host(base_url: str, name: str) -> tuple[str, str]:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError as error:  # wrong brackets, or a port that is no number
        raise ValueError(f"{name} is {base_url!r}: {error}") from None
    host = parts.hostname or ""
    if not usable or not host:
        raise ValueError(f"{name} is {base_url!r}: expected https://host, with a path if need be")
    if not _is_host_name(host):
        raise ValueError(
            f"{name} is {base_url!r}: expected a host name of at most {LONGEST_HOST} characters,"
            f" with 1 to {LONGEST_LABEL} between its dots"
        )
    return parts.scheme, host


def _is_host_name(host: str) -> bool:
    """Return whether a name service can hold the host; an IP address passes, too."""
    labels = host.removesuffix(".").split(".")
    return len(host) <= LONGEST_HOST and all(0 < len(one) <= LONGEST_LABEL for one in labels)


def is_loopback(host: str) -> bool:
    """Return whether the host is this machine: a loopback address, or `localhost`."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"

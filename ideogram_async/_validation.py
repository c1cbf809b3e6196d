"""Checks of settings and arguments: each names what was wrong, and what was expected."""

from __future__ import annotations

import ipaddress
import math
import sys
from urllib.parse import urlsplit

from ideogram_async._protocol.query import PATH

BASE_URL_VARIABLE = "IDEOGRAM_BASE_URL"


def check_seconds(name: str, value: float | None) -> float | None:
    """Check a time span in seconds, > 0 and finite, or None for none."""
    if value is None:
        return None
    _check_number(name, value)
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: expected seconds > 0 and finite, or None")
    return float(value)


def check_count(name: str, value: int, *, least: int = 1) -> int:
    """Return a number of things; raise where it is no int, or below `least`."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a {type(value).__name__}: expected an int")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return value


def check_rate(name: str, value: float) -> float:
    """Check a rate in queries a second: > 0; `math.inf` stands for no limit at all."""
    _check_number(name, value)
    if value == math.inf:
        return math.inf
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: expected queries a second > 0, or None")
    return float(value)


def _check_number(name: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} is a {type(value).__name__}: expected a number")


def check_base_url(base_url: str | None, *, allow_http: bool = False) -> str:
    """Check the gateway's address, and give it without a slash at its end; a path is kept."""
    if base_url is None:
        raise ValueError(f"no base_url: give the gateway's address, or set {BASE_URL_VARIABLE}")
    if not isinstance(base_url, str):
        raise TypeError(f"base_url is a {type(base_url).__name__}: expected a str")
    base_url = base_url.strip().rstrip("/")
    if "@" in base_url:
        raise ValueError(
            "base_url holds an @ (not shown): give keys as token or access_token; %40 in a path"
        )
    if "?" in base_url or "#" in base_url:
        raise ValueError("base_url has a query or fragment (not shown): expected neither")
    if not base_url.isprintable() or " " in base_url or "\\" in base_url:
        raise ValueError(f"base_url is {base_url!r}: a blank, backslash or control character")
    scheme, host = _scheme_and_host(base_url)
    if base_url.endswith(PATH):
        raise ValueError(f"base_url {base_url!r} ends in {PATH}: give what comes before it")
    if scheme == "http" and not (allow_http or is_loopback(host)):
        raise ValueError(
            f"base_url {base_url!r} would send the key in clear: use https, or allow_http=True"
        )
    return base_url


def _scheme_and_host(base_url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(base_url)
        usable = parts.scheme in {"http", "https"} and parts.port != 0
    except ValueError as error:  # brackets, or a port that is none
        raise ValueError(f"base_url is {base_url!r}: {error}") from None
    if not usable or not parts.hostname:
        raise ValueError(f"base_url is {base_url!r}: expected https://host, with a path if need be")
    return parts.scheme, parts.hostname


def is_loopback(host: str) -> bool:
    """Tell whether a host is this machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""What a client is told once: the address, limits and timeouts, checked at construction."""

from __future__ import annotations

import ipaddress
import math
import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ssl import SSLContext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from ideogram_async import _credentials
from ideogram_async._credentials import Credential
from ideogram_async._hooks import Hook, check_hooks
from ideogram_async._version import __version__
from ideogram_async._wire import PATH

if TYPE_CHECKING:
    from ideogram_async._downloads import Downloads

BASE_URL_VARIABLE = "IDEOGRAM_BASE_URL"
_OURS = frozenset(
    {
        "accept-encoding",
        "access-token",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
    }
)
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """The checked settings; no repr, since headers and proxies may hold secrets."""

    base_url: str
    credentials: tuple[Credential, ...]
    max_in_flight: int
    max_rate: float | None
    deadline: float | None
    attempt_timeout: float
    connect_timeout: float
    max_body: int
    proxy: str | None
    ssl: SSLContext | bool
    headers: Mapping[str, str]
    downloads: Downloads
    hooks: tuple[Hook, ...]

    @property
    def url(self) -> str:
        """Where queries are posted."""
        return self.base_url + PATH

    @property
    def secrets(self) -> tuple[str, ...]:
        """All keys, the longest first, so that none hides a part of another."""
        keys = (key for one in self.credentials for key in one.secrets() if key)
        return tuple(sorted(keys, key=len, reverse=True))

    @property
    def has_key(self) -> bool:
        """Whether any key was given at all."""
        return bool(self.secrets)

    @property
    def user_agent(self) -> str:
        """What the client calls itself; the other headers are for the gateway alone."""
        return next(value for name, value in self.headers.items() if name.lower() == "user-agent")


def settle(
    base_url: str | None,
    *,
    token: str | None,
    access_token: str | None,
    credentials: Iterable[Credential],
    max_in_flight: int,
    max_rate: float | None,
    deadline: float | None,
    attempt_timeout: float,
    connect_timeout: float,
    max_body: int,
    proxy: str | None,
    ssl: SSLContext | bool,
    headers: Mapping[str, str] | None,
    user_agent: str | None,
    allow_http: bool,
    downloads: Downloads,
    hooks: Iterable[Hook] = (),
    environ: Mapping[str, str] = os.environ,
) -> Settings:
    """Check every setting at once, and fill in what the environment tells."""
    try:
        chosen = _credentials.choose(token, access_token, tuple(credentials), environ)
        if base_url is None:
            base_url = environ.get(BASE_URL_VARIABLE) or None
    except (TypeError, ValueError) as error:
        raise error.with_traceback(None) from None
    finally:  # reports of errors may show a frame's locals
        del token, access_token, credentials, environ
    return Settings(
        base_url=check_base_url(base_url, allow_http=allow_http),
        credentials=chosen,
        max_in_flight=check_count("max_in_flight", max_in_flight),
        max_rate=None if max_rate is None else check_rate("max_rate", max_rate),
        deadline=check_seconds("deadline", deadline),
        attempt_timeout=_given("attempt_timeout", attempt_timeout),
        connect_timeout=_given("connect_timeout", connect_timeout),
        max_body=check_count("max_body", max_body),
        proxy=_check_proxy(proxy),
        ssl=ssl,
        headers=_check_headers(headers or {}, user_agent),
        downloads=downloads,
        hooks=check_hooks(hooks),
    )


def check_seconds(name: str, value: float | None) -> float | None:
    """Check a time span in seconds, > 0 and finite, or None for none."""
    if value is None:
        return None
    _check_number(name, value)
    if not 0 < value <= sys.float_info.max:
        raise ValueError(f"{name} is {value!r}: expected seconds > 0 and finite, or None")
    return float(value)


def _given(name: str, value: float) -> float:
    seconds = check_seconds(name, value)
    if seconds is None:
        raise TypeError(f"{name} is None: an attempt without a limit could hang for ever")
    return seconds


def check_count(name: str, value: int) -> int:
    """Check a number of things: an int of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a {type(value).__name__}: expected an int")
    if value < 1:
        raise ValueError(f"{name} is {value}: expected at least 1")
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


def _check_proxy(proxy: str | None) -> str | None:
    if proxy is not None and not isinstance(proxy, str):
        raise TypeError(f"proxy is a {type(proxy).__name__}: expected a str")
    return proxy


def _check_headers(headers: Mapping[str, str], user_agent: str | None) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers is a {type(headers).__name__}: expected a mapping")
    for name, value in headers.items():
        if not all(isinstance(part, str) for part in (name, value)):
            raise TypeError("headers: expected names and values of type str")
        if name.lower() in _OURS:
            raise ValueError(
                f"headers sets {name}: keys go into token or access_token, and the"
                " rest of these headers is the client's own"
            )
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} is no name of a header")
        if not value.isprintable():
            raise ValueError(f"headers[{name!r}] holds a line break or control character")
    return {**_user_agent(headers, user_agent), **headers}


def _user_agent(headers: Mapping[str, str], user_agent: str | None) -> dict[str, str]:
    if any(name.lower() == "user-agent" for name in headers):
        if user_agent is not None:
            raise ValueError("user_agent was given, and headers sets it too: expected one of them")
        return {}
    agent = user_agent or f"ideogram-async/{__version__}"
    if not isinstance(agent, str):
        raise TypeError(f"user_agent is a {type(agent).__name__}: expected a str")
    if not agent.isprintable():
        raise ValueError("user_agent holds a line break or control character")
    return {"User-Agent": agent}

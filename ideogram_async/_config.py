"""What a client is told once: the address, keys, limits and timeouts, checked at construction.

Each setting stands here once: its type and description in `ClientOptions`, its default and its
check in `Settings`. The client's signature, and Ray's options, are made of these.
"""

from __future__ import annotations

import inspect
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from ssl import SSLContext
from typing import Any, TypedDict
from urllib.parse import urlsplit

from ideogram_async._downloads.settings import Downloads
from ideogram_async._hooks import Hook, check_hooks
from ideogram_async._protocol.credentials import Credential, choose
from ideogram_async._protocol.query import PATH
from ideogram_async._schedules.base import Schedule
from ideogram_async._validation import (
    BASE_URL_VARIABLE,
    check_base_url,
    check_count,
    check_rate,
    check_seconds,
)
from ideogram_async._version import __version__

CLOSE_SECONDS = 5.0
"""Seconds that closing a client, or leaving a run, waits for what lingers: a source of ids, say."""

_OWN_HEADERS = frozenset(
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
_SCHEDULE_METHODS = ("start", "next_delay", "completed", "expected_end")


class SharedOptions(TypedDict, total=False):
    """The settings of a client that can be sent to another process."""

    token: str | None
    access_token: str | None
    credentials: Iterable[Credential]
    max_in_flight: int
    max_rate: float | None
    deadline: float | None
    attempt_timeout: float
    connect_timeout: float
    max_body: int
    schedule: Schedule[Any] | None
    proxy: str | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    allow_http: bool


class ClientOptions(SharedOptions, total=False):
    """The settings of an `IdeogramClient`, all keyword-only.

    Attributes:
        token: The key, sent as `Authorization: Bearer …`.
        access_token: The key, sent as `Access-Token: …`. With `token`, one session sends both.
            Default, where no key is given at all: `IDEOGRAM_TOKEN`, `IDEOGRAM_ACCESS_TOKEN`.
        credentials: Several keys, a session each, instead of the two above.
        max_in_flight: Queries in flight at once, over all keys; 20.
        max_rate: Queries per second, over all keys; None (the default) to find the limit.
        deadline: Seconds that an id may take from its first query on; 900, None for no limit.
        attempt_timeout: Seconds that one query may take; 30.
        connect_timeout: Seconds that connecting may take; 5.
        max_body: Bytes of an answer, decoded, that are read; 1 MiB.
        schedule: When to ask next; default: an `AdaptiveSchedule`.
        proxy: The URL of an HTTP proxy, `http://host:port`; the environment's are not used.
        ssl: A TLS context of your own; False trusts any certificate.
        headers: More headers for every query; keys do not belong here.
        user_agent: The User-Agent header.
        allow_http: Send the key in clear to a host that is not loopback.
        downloads: How images are downloaded.
        hooks: Functions that are called with each `Event`: queries, ends of requests, states of
            keys.

    """

    ssl: SSLContext | bool
    downloads: Downloads | None
    hooks: Iterable[Hook]


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """The settings, checked; no repr, since headers and proxies may hold secrets."""

    base_url: str
    credentials: tuple[Credential, ...]
    max_in_flight: int = 20
    max_rate: float | None = None
    deadline: float | None = 900.0
    attempt_timeout: float = 30.0
    connect_timeout: float = 5.0
    max_body: int = 1 << 20
    schedule: Schedule[Any] | None = None
    proxy: str | None = None
    ssl: SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    downloads: Downloads = field(default_factory=Downloads)
    hooks: tuple[Hook, ...] = ()

    def __post_init__(self) -> None:
        self._set(
            max_in_flight=check_count("max_in_flight", self.max_in_flight),
            max_rate=None if self.max_rate is None else check_rate("max_rate", self.max_rate),
            deadline=check_seconds("deadline", self.deadline),
            attempt_timeout=_limit("attempt_timeout", self.attempt_timeout),
            connect_timeout=_limit("connect_timeout", self.connect_timeout),
            max_body=check_count("max_body", self.max_body),
            schedule=_check_schedule(self.schedule),
            proxy=_check_proxy(self.proxy),
            ssl=_check_ssl(self.ssl),
            downloads=_check_downloads(self.downloads),
            hooks=check_hooks(self.hooks),
        )

    def _set(self, **checked: object) -> None:
        for name, value in checked.items():
            object.__setattr__(self, name, value)

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


def checked_settings(
    base_url: str | None, options: ClientOptions, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the settings, each checked, with what the environment adds.

    The options are emptied: reports of errors may show the locals of a frame, and so a key.
    """
    given: dict[str, Any] = options  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    try:
        _check_names(given)
        credentials = _take_credentials(given, environ)
        if base_url is None:
            base_url = environ.get(BASE_URL_VARIABLE) or None
        rest: dict[str, Any] = dict(given)
    except (TypeError, ValueError) as error:
        raise error.with_traceback(None) from None
    finally:
        given.clear()
        del environ
    headers = _checked_headers(rest.pop("headers", None) or {}, rest.pop("user_agent", None))
    allow_http = rest.pop("allow_http", False)
    rest["downloads"] = rest.get("downloads") or Downloads()
    address = check_base_url(base_url, allow_http=allow_http)
    return Settings(base_url=address, credentials=credentials, headers=headers, **rest)


def signature_of_client(call: inspect.Signature) -> inspect.Signature:
    """Return the signature of a client with each option and its default, for `help`."""
    defaults = {one.name: one.default for one in fields(Settings) if one.default is not MISSING}
    defaults |= {"credentials": (), "allow_http": False}
    options = [
        inspect.Parameter(
            name,
            inspect.Parameter.KEYWORD_ONLY,
            default=defaults.get(name),
            annotation=kind.__forward_arg__,
        )
        for name, kind in ClientOptions.__annotations__.items()
    ]
    positional = [one for one in call.parameters.values() if one.kind is not one.VAR_KEYWORD]
    return call.replace(parameters=[*positional, *options])


def _check_names(options: dict[str, Any]) -> None:
    for name in options:
        if name not in ClientOptions.__annotations__:
            raise TypeError(f"IdeogramClient() got an unexpected keyword argument {name!r}")


def _take_credentials(
    options: dict[str, Any], environ: Mapping[str, str]
) -> tuple[Credential, ...]:
    """Take the keys out of the options."""
    return choose(
        options.pop("token", None),
        options.pop("access_token", None),
        tuple(options.pop("credentials", ())),
        environ,
    )


def _limit(name: str, value: float) -> float:
    seconds = check_seconds(name, value)
    if seconds is None:
        raise TypeError(f"{name} is None: an attempt without a limit could hang for ever")
    return seconds


def _check_schedule(schedule: Schedule[Any] | None) -> Schedule[Any] | None:
    """Check that it is an object with the methods of a `Schedule`."""
    if isinstance(schedule, type):
        raise TypeError(f"schedule is the class {schedule.__name__}: expected an object of it")
    for name in _SCHEDULE_METHODS if schedule is not None else ():
        if not callable(getattr(schedule, name, None)):
            raise TypeError(
                f"schedule is a {type(schedule).__name__} without the method {name}:"
                " expected a Schedule"
            )
    return schedule


def _check_proxy(proxy: str | None) -> str | None:
    if proxy is None:
        return None
    if not isinstance(proxy, str):
        raise TypeError(f"proxy is a {type(proxy).__name__}: expected a str")
    try:
        parts = urlsplit(proxy.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets, or a port that is none
        usable = False
    if not usable:  # not shown: it may hold a password
        raise ValueError("proxy (not shown) is no URL of an HTTP proxy: expected http://host:port")
    return proxy.strip()


def _check_ssl(ssl: SSLContext | bool) -> SSLContext | bool:
    if not isinstance(ssl, SSLContext | bool):
        raise TypeError(f"ssl is a {type(ssl).__name__}: expected an ssl.SSLContext, True or False")
    return ssl


def _check_downloads(downloads: Downloads) -> Downloads:
    if not isinstance(downloads, Downloads):
        raise TypeError(f"downloads is a {type(downloads).__name__}: expected a Downloads")
    return downloads


def _checked_headers(headers: Mapping[str, str], user_agent: str | None) -> Mapping[str, str]:
    if not isinstance(headers, Mapping):
        raise TypeError(f"headers is a {type(headers).__name__}: expected a mapping")
    for name, value in headers.items():
        if not all(isinstance(part, str) for part in (name, value)):
            raise TypeError("headers: expected names and values of type str")
        if name.lower() in _OWN_HEADERS:
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

"""The settings of a client, checked at its construction.

Each setting is defined here once: its type and description in `ClientOptions`, its default and its
check in `Settings`. The client's signature and Ray's options are derived from them.
"""

from __future__ import annotations

import difflib
import hmac
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
from ideogram_async._limiter import Limiter, check_limiter
from ideogram_async._protocol.credentials import STYLES, Credential, take_credentials
from ideogram_async._protocol.query import PATH
from ideogram_async._schedules.base import Schedule
from ideogram_async._validation import (
    BASE_URL_VARIABLE,
    check_base_url,
    check_count,
    check_limit,
    check_rate,
    check_seconds,
    check_type,
)
from ideogram_async._version import __version__

CLOSE_SECONDS = 5.0
"""Seconds that closing a client, or leaving a run, waits for what lingers: a source of ids, say."""
_OWN_HEADERS = {
    "accept-encoding",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    *(style.header.lower() for style in STYLES.values()),
}
_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_OTHER_NAMES = {
    "api_key": "token",
    "api_token": "token",
    "concurrency": "max_in_flight",
    "key": "token",
    "max_concurrency": "max_in_flight",
    "rate_limit": "max_rate",
    "timeout": "attempt_timeout",
    "verify": "ssl",
}
"""What other clients call a setting."""
_SCHEDULE_METHODS = ("start", "next_delay", "completed", "expected_end")


class SharedOptions(TypedDict, total=False):
    """The settings of a client that can be sent to another process; see `ClientOptions`."""

    token: str | None
    access_token: str | None
    credentials: Iterable[Credential]
    max_in_flight: int
    max_rate: float | None
    deadline: float | None
    attempt_timeout: float
    connect_timeout: float
    max_body: int
    max_faults: int | None
    schedule: Schedule[Any] | None
    proxy: str | None
    headers: Mapping[str, str] | None
    user_agent: str | None
    allow_http: bool
    fast_lane: bool | None


class ClientOptions(SharedOptions, total=False):
    """The settings of an `IdeogramClient`, all keyword-only.

    Attributes:
        token: The key, sent as `Authorization: Bearer …`.
        access_token: The key, sent as `Access-Token: …`. With `token`, one session sends both.
            Default, only if no key is given: the variables `IDEOGRAM_TOKEN` and
            `IDEOGRAM_ACCESS_TOKEN`.
        credentials: Several keys, each with its own session, instead of the two settings above.
        max_in_flight: Queries in flight at once, over all keys. Default: 20.
        max_rate: Queries per second, over all keys. Default: None, the client finds the limit.
        deadline: Seconds from an id's first query until it fails. Default: 900; None for no limit.
        attempt_timeout: Seconds that one query may take. Default: 30.
        connect_timeout: Seconds that connecting may take. Default: 5.
        max_body: Largest size of a decoded answer, in bytes. Default: 1 MiB.
        max_faults: Faults in a row of its own after which an id fails. Default: None, it is asked
            until its deadline.
        schedule: Decides when each id is queried next. Default: an `AdaptiveSchedule`.
        proxy: The URL of an HTTP proxy, `http://host:port`. The environment's is not used.
        ssl: A TLS context; True for the default one, False to accept any certificate.
        headers: Additional headers of every query. A key is refused here.
        user_agent: The User-Agent header. Default: the library's name and version.
        allow_http: Allow `http://` for a host that is not loopback: it gets the key unencrypted.
        fast_lane: Whether queries are sent over connections that the client keeps itself, for less
            than half the CPU time, or (False) each through aiohttp's session. Default: None, unless
            aiohttp is traced or patched, or is not as the client knows it. True: also where it is
            traced or patched, which then sees no query.
        downloads: The settings of image downloads. Default: `Downloads()`.
        hooks: Functions that are called with each `Event`: queries, ends of requests, changes of
            a session's state.
        limiter: Decides when queries may be sent, over all keys, instead of the client's own: a
            `Limiter`, for one client. `max_rate`, if it is given too, limits this client as well.

    """

    ssl: SSLContext | bool
    downloads: Downloads | None
    hooks: Iterable[Hook]
    limiter: Limiter | None


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class Settings:
    """The checked settings. There is no repr, since headers and proxies can hold secrets."""

    base_url: str
    credentials: tuple[Credential, ...]
    max_in_flight: int = 20
    max_rate: float | None = None
    deadline: float | None = 900.0
    attempt_timeout: float = 30.0
    connect_timeout: float = 5.0
    max_body: int = 1 << 20
    max_faults: int | None = None
    schedule: Schedule[Any] | None = None
    proxy: str | None = None
    ssl: SSLContext | bool = True
    headers: Mapping[str, str] = field(default_factory=dict)
    fast_lane: bool | None = None
    downloads: Downloads = field(default_factory=Downloads)
    hooks: tuple[Hook, ...] = ()
    limiter: Limiter | None = None

    def __post_init__(self) -> None:
        max_rate, max_faults = self.max_rate, self.max_faults
        checked = {
            "max_in_flight": check_count("max_in_flight", self.max_in_flight),
            "max_rate": None if max_rate is None else check_rate("max_rate", max_rate),
            "deadline": check_seconds("deadline", self.deadline),
            "attempt_timeout": check_limit("attempt_timeout", self.attempt_timeout, "a query"),
            "connect_timeout": check_limit("connect_timeout", self.connect_timeout, "a query"),
            "max_body": check_count("max_body", self.max_body),
            "max_faults": None if max_faults is None else check_count("max_faults", max_faults),
            "schedule": _check_schedule(self.schedule),
            "proxy": _check_proxy(self.proxy),
            "hooks": check_hooks(self.hooks),
            "limiter": check_limiter(self.limiter),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)
        check_type("ssl", self.ssl, SSLContext | bool, "an ssl.SSLContext, True or False")
        check_type("fast_lane", self.fast_lane, bool | None, "True, False or None")
        check_type("downloads", self.downloads, Downloads, "a Downloads")

    @property
    def url(self) -> str:
        """The address that queries are posted to."""
        return self.base_url + PATH

    @property
    def secrets(self) -> tuple[str, ...]:
        """All keys, longest first: a key that is a part of another one is replaced after it."""
        keys = (key for one in self.credentials for key in one.secrets() if key)
        return tuple(sorted(keys, key=len, reverse=True))

    @property
    def budget(self) -> str:
        """A name of all keys together, from which none of them can be found: a keyed hash."""
        keys = "\0".join(sorted(self.secrets)).encode()
        return hmac.new(keys, b"ideogram_async budget", "sha256").hexdigest()[:32]

    @property
    def user_agent(self) -> str:
        """The User-Agent header, which downloads send too; other headers go to the gateway only."""
        return next(value for name, value in self.headers.items() if name.lower() == "user-agent")


def checked_settings(
    base_url: str | None, options: ClientOptions, environ: Mapping[str, str] = os.environ
) -> Settings:
    """Return the checked settings; address and keys that are not given come from the environment.

    Raises:
        TypeError: A setting is unknown or has a wrong type.
        ValueError: A setting is out of its range, or there is no address.

    """
    given: dict[str, Any] = options  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    try:
        _check_names(given)
        credentials = take_credentials(given, environ)
        if base_url is None:
            base_url = environ.get(BASE_URL_VARIABLE) or None
        rest: dict[str, Any] = dict(given)
    except (TypeError, ValueError) as error:
        raise error.with_traceback(None) from None
    finally:  # reports of errors may show a frame's locals, and so a key
        given.clear()
        del environ
    headers = _checked_headers(rest.pop("headers", None), rest.pop("user_agent", None))
    allow_http = rest.pop("allow_http", False)
    check_type("allow_http", allow_http, bool, "True or False")
    if rest.get("downloads") is None:
        rest["downloads"] = Downloads()
    address = check_base_url(base_url, allow_http=allow_http)
    return Settings(base_url=address, credentials=credentials, headers=headers, **rest)


def signature_of_client(call: inspect.Signature) -> inspect.Signature:
    """Return the client's signature with each option and its default in place of `**options`."""
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
            message = f"IdeogramClient() got an unexpected keyword argument {name!r}"
            near = difflib.get_close_matches(name, ClientOptions.__annotations__, 1)
            meant = _OTHER_NAMES.get(name) or next(iter(near), None)
            raise TypeError(f"{message}: did you mean {meant!r}?" if meant else message)


def _check_schedule(schedule: Schedule[Any] | None) -> Schedule[Any] | None:
    """Check that the object has the methods of a `Schedule`."""
    if isinstance(schedule, type):
        raise TypeError(f"schedule is the class {schedule.__name__}: expected an instance of it")
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
    check_type("proxy", proxy, str, "a str")
    try:
        parts = urlsplit(proxy.strip())
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # wrong brackets, or a port that is no number
        usable = False
    if not usable:  # not shown: it may hold a password
        raise ValueError("proxy (not shown) is no URL of an HTTP proxy: expected http://host:port")
    return proxy.strip()


def _checked_headers(
    headers: Mapping[str, str] | None, user_agent: str | None
) -> Mapping[str, str]:
    headers = {} if headers is None else headers
    check_type("headers", headers, Mapping, "a mapping")
    for name, value in headers.items():
        if not all(isinstance(part, str) for part in (name, value)):
            raise TypeError("headers: expected names and values of type str")
        if name.lower() in _OWN_HEADERS:
            raise ValueError(
                f"headers sets {name}: keys go into {' or '.join(STYLES)}, and the client sets the"
                " others itself"
            )
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"headers: {name!r} is not the name of a header")
        if not value.isprintable():
            raise ValueError(f"headers[{name!r}] holds a line break or control character")
    return {**_user_agent(headers, user_agent), **headers}


def _user_agent(headers: Mapping[str, str], user_agent: str | None) -> dict[str, str]:
    if any(name.lower() == "user-agent" for name in headers):
        if user_agent is not None:
            raise ValueError("user_agent was given, and headers sets it too: expected only one")
        return {}
    check_type("user_agent", user_agent, str | None, "a str")
    agent = user_agent or f"ideogram-async/{__version__}"
    if not agent.isprintable():
        raise ValueError("user_agent holds a line break or control character")
    return {"User-Agent": agent}

"""Settings: what each may be, and that a wrong one is named at construction."""

from __future__ import annotations

import dataclasses
import inspect
import math
import os
import re
import ssl
from fractions import Fraction
from typing import Any

import pytest

from ideogram_async import AdaptiveSchedule, ClientOptions, Credential, IdeogramClient, __version__
from ideogram_async._config import Settings
from ideogram_async._protocol.credentials import STYLES
from ideogram_async.testing import RateLimit
from tests.support.settings import GATEWAY, settled

# Numbers

_SPANS = ["deadline", "attempt_timeout", "connect_timeout"]
_COUNTS = ["max_in_flight", "max_body"]
_TOO_LARGE = 10**400
_OUT_OF_RANGE = [0, -1, 0.0, -0.5, math.nan, -math.inf, -_TOO_LARGE]


@pytest.mark.parametrize("value", [*_OUT_OF_RANGE, math.inf, _TOO_LARGE])
@pytest.mark.parametrize("name", _SPANS)
def test_time_spans_are_finite_and_above_zero(name: str, value: float) -> None:
    """No span of time is 0, negative, endless or no number."""
    with pytest.raises(ValueError, match=rf"^{name} is .*: expected seconds > 0 and finite"):
        settled(**{name: value})


@pytest.mark.parametrize("value", [*_OUT_OF_RANGE, _TOO_LARGE])
def test_a_rate_is_above_zero(value: float) -> None:
    """A rate of 0 or less, or that is no number, would never send anything."""
    with pytest.raises(ValueError, match=r"^max_rate is .*: expected queries per second > 0"):
        settled(max_rate=value)


@pytest.mark.parametrize("value", [0, -1, -_TOO_LARGE])
@pytest.mark.parametrize("name", _COUNTS)
def test_counts_are_at_least_one(name: str, value: int) -> None:
    """No limit is 0: nothing could ever go out, or come in."""
    with pytest.raises(ValueError, match=rf"^{name} is .*: expected at least 1"):
        settled(**{name: value})


@pytest.mark.parametrize("value", [True, False, "5", b"5", [5], 5j, Fraction(5)], ids=repr)
@pytest.mark.parametrize("name", [*_SPANS, *_COUNTS, "max_rate"])
def test_numbers_are_numbers(name: str, value: object) -> None:
    """A bool, text, or another kind of object is a TypeError that names the setting."""
    with pytest.raises(TypeError, match=rf"^{name} is a {type(value).__name__}: expected a"):
        settled(**{name: value})


@pytest.mark.parametrize("value", [1.0, 20.5, math.nan, math.inf, None])
@pytest.mark.parametrize("name", _COUNTS)
def test_counts_are_whole(name: str, value: object) -> None:
    """A float is no count, be it a whole one."""
    with pytest.raises(TypeError, match=rf"^{name} is a"):
        settled(**{name: value})


@pytest.mark.parametrize("name", ["attempt_timeout", "connect_timeout"])
def test_an_attempt_always_has_a_limit(name: str) -> None:
    """None would let one query hang for ever."""
    with pytest.raises(TypeError, match=rf"^{name} is None"):
        settled(**{name: None})
    with pytest.raises(ValueError, match=r"expected seconds > 0 and finite$"):
        settled(**{name: 0})


def test_good_numbers_are_kept() -> None:
    """What is within bounds is taken as it is; None is no deadline, infinity no limit of rate."""
    found = settled(
        max_in_flight=1,
        max_body=1,
        max_rate=math.inf,
        deadline=None,
        attempt_timeout=1,
        connect_timeout=0.001,
    )
    assert (found.max_in_flight, found.max_body) == (1, 1)
    assert (found.max_rate, found.deadline) == (math.inf, None)
    assert (found.attempt_timeout, found.connect_timeout) == (1.0, 0.001)
    assert isinstance(found.attempt_timeout, float)
    assert settled(max_rate=7).max_rate == 7.0
    assert settled(max_rate=0.01).max_rate == 0.01
    assert settled(deadline=5e-324).deadline == 5e-324


# Headers and the rest


def test_the_client_says_who_it_is() -> None:
    """The User-Agent names library and version, unless the user names another, either way."""
    assert settled().headers == {"User-Agent": f"ideogram-async/{__version__}"}
    assert settled(user_agent="mine/1").headers == {"User-Agent": "mine/1"}
    assert settled(headers={"user-agent": "mine/2"}).headers == {"user-agent": "mine/2"}
    with pytest.raises(ValueError, match="user_agent was given, and headers sets it too"):
        settled(user_agent="mine/1", headers={"user-agent": "mine/2"})
    assert settled(headers={"X-Trace": "é"}).headers["X-Trace"] == "é"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "ACCESS-TOKEN",
        "content-type",
        "Content-Length",
        "Host",
        "Accept-Encoding",
        "Transfer-Encoding",
        "Connection",
        "Content-Encoding",
    ],
)
def test_the_clients_own_headers_are_not_set(name: str) -> None:
    """A key does not slip in as a header, nor what the query itself decides."""
    with pytest.raises(ValueError, match=f"headers sets {name}") as caught:
        settled(headers={name: "CANARY"})
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\n", "Ü", "(x)"])
def test_header_names_are_tokens(name: str) -> None:
    """What HTTP does not take as a name is refused before the first query."""
    with pytest.raises(ValueError, match="is not the name of a header"):
        settled(headers={name: "x"})


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\nb", "\x00", "a\x7f"])
def test_no_value_breaks_a_line(value: str) -> None:
    """A line break in a value would be a header of its own; the value is not shown."""
    with pytest.raises(ValueError, match="line break or control"):
        settled(headers={"X-Trace": value})
    with pytest.raises(ValueError, match="user_agent holds a line break"):
        settled(user_agent=value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"headers": {"X": 1}},
        {"headers": {1: "X"}},
        {"headers": [("X", "1")]},
        {"user_agent": 5},
        {"proxy": 5},
    ],
    ids=str,
)
def test_other_types_are_refused(wrong: dict[str, Any]) -> None:
    """A setting of another type is a TypeError at construction, not at the first query."""
    with pytest.raises(TypeError, match=next(iter(wrong))):
        settled(**wrong)


_WRONG: list[tuple[str, Any, str]] = [
    ("schedule", 5, "schedule is a int without the method start: expected a Schedule"),
    ("schedule", AdaptiveSchedule, "schedule is the class AdaptiveSchedule: expected an instance"),
    ("limiter", 20, "limiter is a int without rate: expected a Limiter"),
    ("limiter", RateLimit, "limiter is the class RateLimit: expected an instance"),
    ("ssl", "/x.pem", "ssl is a str: expected an ssl.SSLContext, True or False"),
    ("ssl", None, "ssl is a NoneType: expected"),
    ("proxy", "127.0.0.1:3128", "proxy (not shown) is no URL of an HTTP proxy"),
    ("proxy", "proxy.example:3128", "proxy (not shown) is no URL of an HTTP proxy"),
    ("proxy", "socks5://127.0.0.1:1080", "proxy (not shown) is no URL of an HTTP proxy"),
    ("hooks", print, "hooks is a builtin_function_or_method: expected a list of functions"),
    ("hooks", None, "hooks is a NoneType: expected a list of functions"),
    ("hooks", (5,), "hooks: 5 cannot be called"),
    ("credentials", Credential(token="t"), "credentials is a Credential: expected a list of"),
    ("credentials", None, "credentials is a NoneType: expected a list of Credential"),
    ("headers", (), "headers is a tuple: expected a mapping"),
    ("user_agent", 0, "user_agent is a int: expected a str"),
    ("downloads", False, "downloads is a bool: expected a Downloads"),
    ("allow_http", "no", "allow_http is a str: expected True or False"),
    ("base_url", "https://a..b", "base_url is 'https://a..b': expected a host name"),
    ("base_url", f"https://{'a' * 70}.example", "with 1 to 63 between its dots"),
    ("base_url", f"https://{'a.' * 130}example", "expected a host name of at most 253"),
    (
        "max_inflight",
        5,
        "unexpected keyword argument 'max_inflight': did you mean 'max_in_flight'?",
    ),
    ("api_key", "k", "unexpected keyword argument 'api_key': did you mean 'token'?"),
    ("timeout", 5, "unexpected keyword argument 'timeout': did you mean 'attempt_timeout'?"),
    ("zzz", 5, "IdeogramClient() got an unexpected keyword argument 'zzz'"),
]


@pytest.mark.parametrize(("name", "value", "told"), _WRONG, ids=lambda value: f"{value!r:.40}")
def test_a_wrong_setting_is_named_at_construction(name: str, value: Any, told: str) -> None:
    """What would fail each query, or would be misread, is refused by its name before the first."""
    settings: dict[str, Any] = {"base_url": GATEWAY, name: value}
    with pytest.raises((TypeError, ValueError), match=re.escape(told)):
        IdeogramClient(**settings)


@pytest.mark.parametrize("host", ["a.example.", "xn--mnchen-3ya.example", "münchen.example", "a"])
def test_any_host_name_of_the_internet_is_one(host: str) -> None:
    """Neither a dot at the end, nor other scripts, nor a single label is refused."""
    assert settled(f"https://{host}:8443/path").base_url == f"https://{host}:8443/path"
    label = "a" * 63
    assert settled(f"https://{label}.{label}.example").base_url


def test_what_is_given_is_passed_on() -> None:
    """A proxy and a TLS context go through as they are."""
    context = ssl.create_default_context()
    found = settled(proxy="http://proxy.example:3128", ssl=context)
    assert found.proxy == "http://proxy.example:3128"
    assert found.ssl is context


def test_no_repr_shows_what_may_be_secret() -> None:
    """Headers and a proxy's address may hold a secret, so the settings' repr shows neither."""
    found = settled(headers={"Cookie": "CANARY"}, proxy="http://user:CANARY@proxy.example")
    assert "CANARY" not in repr(found)


def test_settings_do_not_change() -> None:
    """What was checked at construction stays as it was."""
    found: Any = settled()
    with pytest.raises(AttributeError):
        found.max_in_flight = 0


# One setting in one place

MERGED = {*STYLES, "user_agent", "allow_http"}
"""Options that become parts of `credentials`, `headers` and `base_url`."""


def test_each_option_is_a_setting_and_is_described() -> None:
    """The options, the checked settings, and the options' descriptions list the same names."""
    options = ClientOptions.__annotations__.keys()
    settings = {field.name for field in dataclasses.fields(Settings)}
    assert options == MERGED | settings - {"base_url"}
    description = inspect.cleandoc(ClientOptions.__doc__ or "")
    described = re.findall(r"^ {4}(\w+): ", description, flags=re.MULTILINE)
    assert sorted(described) == sorted(options)


def test_the_signature_shows_the_defaults_that_hold() -> None:
    """Each option is keyword-only, and its shown default means the same as leaving it out."""
    base_url, *shown = inspect.signature(IdeogramClient).parameters.values()
    assert (base_url.name, base_url.default) == ("base_url", None)
    assert [one.name for one in shown] == list(ClientOptions.__annotations__)
    assert {one.kind for one in shown} == {inspect.Parameter.KEYWORD_ONLY}
    defaults = {one.name: one.default for one in shown}
    if os.environ.get("IDEOGRAM_TEST_LANE"):  # the tests' own default then
        del defaults["fast_lane"]
    assert settled(**defaults) == settled()


def test_the_options_on_ray_are_those_that_travel() -> None:
    """Shards take the client's options, with the same types; a TLS context and code stay here."""
    pytest.importorskip("ray")
    from ideogram_async.ray import ClientOptions as RayOptions  # noqa: PLC0415 - an extra

    here, there = ClientOptions.__annotations__, RayOptions.__annotations__
    assert there.keys() == here.keys() - {"downloads", "hooks", "limiter"}
    assert {name for name in there if there[name] != here[name]} == {"ssl"}

"""The gateway's address: what is one, what is kept of it, and that it shows nothing secret."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._validation import check_base_url
from tests.support.settings import GATEWAY, settled


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://gateway.example", "https://gateway.example/api/ideogram/task-request"),
        ("https://gateway.example/", "https://gateway.example/api/ideogram/task-request"),
        (" https://gateway.example//\n", "https://gateway.example/api/ideogram/task-request"),
        ("https://g.example:8443/v1", "https://g.example:8443/v1/api/ideogram/task-request"),
        ("https://g.example/a/b/", "https://g.example/a/b/api/ideogram/task-request"),
        ("HTTPS://G.example/A", "HTTPS://G.example/A/api/ideogram/task-request"),
        ("https://g.example/%40me", "https://g.example/%40me/api/ideogram/task-request"),
        ("https://[2001:db8::1]:8443", "https://[2001:db8::1]:8443/api/ideogram/task-request"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/api/ideogram/task-request"),
    ],
)
def test_a_path_is_kept_and_a_slash_at_the_end_is_not(given: str, url: str) -> None:
    """The query's path follows whatever path the address has, with one slash between them."""
    assert settled(given).url == url


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.8.9.10:80", "[::1]", "[::1]:8080", "localhost", "LocalHost:1"]
)
def test_loopback_needs_no_tls(host: str) -> None:
    """A key may go in clear to this machine itself."""
    assert settled(f"http://{host}").base_url == f"http://{host}"


@pytest.mark.parametrize(
    "host",
    [
        "gateway.example",
        "0.0.0.0",  # noqa: S104 - an address that is refused
        "10.0.0.1",
        "192.168.0.1",
        "[::]",
        "127.0.0.1.example",
        "localhost.example",
        "my-localhost",
        "2130706433",
    ],
)
def test_http_beyond_loopback_is_refused_unless_it_is_allowed(host: str) -> None:
    """A key in clear over a network needs `allow_http=True`."""
    with pytest.raises(ValueError, match="in clear: use https, or allow_http=True"):
        settled(f"http://{host}")
    with pytest.raises(ValueError, match="in clear"):
        check_base_url(f"http://{host}")
    assert settled(f"http://{host}", allow_http=True).base_url == f"http://{host}"


@pytest.mark.parametrize(
    "address",
    [
        "https://user:CANARY@gateway.example",
        "https://CANARY@gateway.example",
        "https://user:CANARY@",
        "https://@gateway.example/CANARY",
        "https://user:CA/NARY@gateway.example",
        "https://user:CA#NARY@gateway.example",
        "https://user:CA?NARY@gateway.example",
        "user:CANARY@gateway.example",
        "https:/user:CANARY@gateway.example",
        "https://user:CANARY@[gateway.example",
        "https://user:CANARY\u2100@gateway.example",
        "https://gateway.example\\@CANARY.example",
    ],
)
def test_user_info_is_refused_without_showing_it(address: str) -> None:
    """A user and password in the address are refused, however garbled, and never shown."""
    with pytest.raises(ValueError, match="base_url holds an @") as caught:
        settled(address, allow_http=True)
    assert "NARY" not in f"{caught.value} {caught.value!r}"
    assert "user" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "https://gateway.example?key=CANARY",
        "https://gateway.example/a?",
        "https://gateway.example/?",
        "https://gateway.example/#CANARY",
        "https://gateway.example#",
    ],
)
def test_a_query_or_fragment_is_refused_without_showing_it(address: str) -> None:
    """The path is appended, so nothing may follow it; a query may hold a key."""
    with pytest.raises(ValueError, match="has a query or fragment") as caught:
        settled(address)
    assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize(
    "address",
    [
        "",
        " ",
        "/",
        "gateway.example",
        "gateway.example:443",
        "//gateway.example",
        "ftp://gateway.example",
        "ws://gateway.example",
        "https://",
        "https:///path",
        "https://:443",
        "https://gateway.example:0",
        "https://gateway.example:65536",
        "https://gateway.example:port",
        "https://[::1",
        "https://gate way.example",
        "https://gateway.example/a b",
        "https://gateway.example/\na",
        "https://gate\tway.example",
        "https://gateway.example\\path",
        "https://gateway.example/\u202ea",
        "https://gateway.example/api/ideogram/task-request",
        "https://gateway.example/v1/api/ideogram/task-request/",
    ],
)
def test_what_is_no_address_is_refused(address: str) -> None:
    """What no query could go to is refused at construction, by name."""
    with pytest.raises(ValueError, match=r"^base_url"):
        settled(address, allow_http=True)


@pytest.mark.parametrize("address", [b"https://gateway.example", 5, ["https://gateway.example"]])
def test_an_address_is_text(address: Any) -> None:
    """An address of another type is a TypeError."""
    with pytest.raises(TypeError, match=r"^base_url is a"):
        settled(address)


def test_the_environment_fills_in_the_address() -> None:
    """`IDEOGRAM_BASE_URL` serves where none is given, by the same rules."""
    environ = {"IDEOGRAM_BASE_URL": "https://variable.example/"}
    assert settled(None, environ=environ).base_url == "https://variable.example"
    assert settled(GATEWAY, environ=environ).base_url == GATEWAY
    with pytest.raises(ValueError, match="in clear"):
        settled(None, environ={"IDEOGRAM_BASE_URL": "http://variable.example"})


@pytest.mark.parametrize("environ", [{}, {"IDEOGRAM_BASE_URL": ""}])
def test_without_any_address_the_variable_is_named(environ: dict[str, str]) -> None:
    """Whoever forgot the address is told both ways to give it."""
    with pytest.raises(ValueError, match=r"no base_url: .* IDEOGRAM_BASE_URL"):
        settled(None, environ=environ)


@given(st.text() | st.text(st.sampled_from("htps:/@?#[]\\.0a %\n")).map("https://a".__add__))
def test_no_text_but_an_address_is_one(address: str) -> None:
    """Any text is either refused with a ValueError, or an address that needs no second look."""
    try:
        checked = check_base_url(address)
    except ValueError:
        return
    assert checked.lower().startswith(("https://", "http://"))
    assert checked.isprintable()
    assert not set("@?# \\") & set(checked)
    assert not checked.endswith("/")

"""The key goes to the configured origin alone, and nothing ambient goes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import pytest

from ideogram_async import APIConnectionError, BaseURLError, FixedInterval, IdeogramClient
from tests.support.lanes import each_lane
from tests.support.raw_server import RawServer, drain, record, reply

pytestmark = [pytest.mark.anyio, each_lane]

CANARY = "canary-4711"
_REDIRECTS = [
    "301 Moved Permanently",
    "302 Found",
    "303 See Other",
    "307 Temporary Redirect",
    "308 Permanent Redirect",
]
_STYLES: list[dict[str, Any]] = [
    {"token": CANARY},
    {"access_token": CANARY},
    {"token": CANARY, "access_token": f"{CANARY}-2"},
]


@pytest.mark.parametrize("status", _REDIRECTS)
async def test_redirects_are_not_followed(status: str) -> None:
    """A redirect ends the run with both addresses named; the other origin sees no connection."""
    async with (
        RawServer() as elsewhere,
        RawServer() as server,
        IdeogramClient(server.url, **_STYLES[-1]) as client,
    ):
        location = f"Location: {elsewhere.url}/api/ideogram/task-request?of=the+gateway"
        server.default = lambda _: [reply(b"moved", status, location)]
        ids = [f"id-{number}" for number in range(20)]
        with anyio.fail_after(600), pytest.raises(BaseURLError) as caught:
            await drain(client, ids)
        assert server.url in str(caught.value)
        assert elsewhere.url in str(caught.value)
        assert set(caught.value.pending) == set(ids)
        assert server.queries
        assert elsewhere.connections == []


@pytest.mark.parametrize("location", ["/elsewhere", "//elsewhere.example/", "", None])
async def test_a_redirect_to_wherever(location: str | None) -> None:
    """Also one that stays at its origin, leads nowhere, or has a huge body, is not followed."""
    headers = [] if location is None else [f"Location: {location}"]
    async with RawServer() as server, IdeogramClient(server.url, token=CANARY) as client:
        server.script([reply(bytes(3 << 20), "302 Found", *headers)])
        with pytest.raises(BaseURLError, match="302: redirected to"):
            await client.retrieve("id")
        assert len(server.queries) == 1


async def test_no_cookie_is_sent_back() -> None:
    """What the gateway sets is forgotten; a name is asked, for aiohttp keeps no cookie of an IP."""
    async with (
        RawServer(ends={"id": 3.0}) as server,
        IdeogramClient(
            server.url.replace("127.0.0.1", "localhost"), schedule=FixedInterval(1.0)
        ) as client,
    ):
        for _ in range(2):
            server.script([reply(record("id", 50), "200 OK", "Set-Cookie: session=1; Path=/")])
        await drain(client, ["id"])
        assert len(server.queries) == 4
        assert not any(query.headers("Cookie") for query in server.queries)


async def test_nothing_of_the_environment_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a netrc's password nor the environment's proxies are used."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login user password {CANARY}\n")
    netrc.chmod(0o600)
    async with RawServer() as proxy, RawServer() as server:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        for name in ("NO_PROXY", "no_proxy", "IDEOGRAM_TOKEN", "IDEOGRAM_ACCESS_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("NETRC", str(netrc))
        async with IdeogramClient(server.url) as client:
            await drain(client, ["id"])
        (query,) = server.queries
        assert query.headers("Authorization") == []
        assert query.target == "/api/ideogram/task-request"
        assert proxy.connections == []


async def test_a_proxy_that_is_asked_for() -> None:
    """The proxy of the settings gets the query in absolute form, and its own password alone."""
    async with (
        RawServer() as proxy,
        IdeogramClient(
            "http://gateway.example/relay",
            token=CANARY,
            allow_http=True,
            proxy=proxy.url.replace("//", "//user:pass@"),
        ) as client,
    ):
        await drain(client, ["one", "two"])
        for query in proxy.queries:
            assert query.target == "http://gateway.example/relay/api/ideogram/task-request"
            assert query.headers("Host") == ["gateway.example"]
            assert query.headers("Authorization") == [f"Bearer {CANARY}"]
            assert query.headers("Proxy-Authorization") == ["Basic dXNlcjpwYXNz"]


@pytest.mark.parametrize("style", _STYLES, ids=["bearer", "access token", "both"])
async def test_a_proxy_sees_no_key_under_tls(style: dict[str, Any]) -> None:
    """For https the proxy is asked for a tunnel, before any key is sent."""
    async with (
        RawServer(default=lambda _: [reply(b"", "403 Forbidden")]) as proxy,
        IdeogramClient("https://gateway.example", **style, proxy=proxy.url) as client,
    ):
        with pytest.raises(APIConnectionError):
            await client.retrieve("id")
        assert len(proxy.queries) == 3
        for query in proxy.queries:
            assert query.head.startswith("CONNECT gateway.example:443 ")
            assert CANARY not in query.head

"""TLS: whom the client trusts, and what it says of whom it does not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from typing import Any

import anyio
import pytest
import trustme

from ideogram_async import (
    APIConnectionError,
    APITimeoutError,
    BaseURLError,
    FixedInterval,
    IdeogramClient,
)
from tests.support.lanes import each_lane
from tests.support.raw_server import RawServer, drain, record, reply

pytestmark = [pytest.mark.anyio, each_lane]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make an authority that no system knows."""
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """Make a client's context that trusts the authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def serving(authority: trustme.CA, host: str = "127.0.0.1", **settings: Any) -> ssl.SSLContext:
    """Make a server's context with a certificate for a host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host, **settings).configure_cert(context)
    return context


async def test_a_context_of_ones_own(authority: trustme.CA, trusting: ssl.SSLContext) -> None:
    """With a context that trusts the gateway's authority ids complete, over kept connections."""
    async with (
        RawServer(ssl=serving(authority), ends={"id": 5.0}) as server,
        IdeogramClient(server.url, ssl=trusting, schedule=FixedInterval(1.0)) as client,
    ):
        await drain(client, ["id"])
        assert len(server.connections) == 1
        assert len(server.queries) == 6


_UNTRUSTED: dict[str, dict[str, Any]] = {
    "unknown authority": {},
    "another host's": {"host": "other.example"},
    "expired": {"not_after": datetime(2020, 1, 1, tzinfo=UTC)},
}


@pytest.mark.parametrize("name", _UNTRUSTED)
async def test_a_certificate_that_is_not_trusted(
    name: str, authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """The run ends at once, with one error that names base_url, the reason and the setting ssl."""
    trust: ssl.SSLContext | bool = True if name == "unknown authority" else trusting
    async with (
        RawServer(ssl=serving(authority, **_UNTRUSTED[name])) as server,
        IdeogramClient(server.url, token="key-1", ssl=trust) as client,
    ):
        ids = [f"id-{number}" for number in range(50)]
        with anyio.fail_after(600), pytest.raises(BaseURLError) as caught:
            await drain(client, ids)
        assert anyio.current_time() == 0
        assert set(caught.value.pending) == set(ids)
        assert server.url in str(caught.value)
        assert "certificate is not trusted" in str(caught.value)
        assert "the setting ssl" in str(caught.value)
        assert client.statistics().queries <= 10
        assert server.queries == []


async def test_any_certificate_where_the_caller_says_so(authority: trustme.CA) -> None:
    """With ssl=False even another host's certificate of an unknown authority will do."""
    async with (
        RawServer(ssl=serving(authority, "other.example")) as server,
        IdeogramClient(server.url, ssl=False) as client,
    ):
        await drain(client, ["id"])


async def test_a_stalled_handshake() -> None:
    """A handshake that never goes on ends by connect_timeout, and no key was sent."""
    async with (
        RawServer() as server,
        IdeogramClient(
            server.url.replace("http", "https"), token="key-1", connect_timeout=3
        ) as client,
    ):
        with anyio.fail_after(600), pytest.raises(APITimeoutError, match="connect_timeout"):
            await client.retrieve("id", timeout=None)
        assert 9 <= anyio.current_time() <= 11
        assert len(server.connections) == 3
        await server.emptied()
        assert not server.open
        assert all(connection.received for connection in server.connections)  # a hello each
        assert not any(b"key-1" in connection.received for connection in server.connections)


async def test_an_answer_before_the_first_query(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    """What a new connection says before it is asked is no answer, nor cause to connect in a loop.

    With TLS 1.2 it can come along with the end of the handshake.
    """
    context = serving(authority)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    async with (
        RawServer(ssl=context, greeting=reply(record("id"))) as server,
        IdeogramClient(server.url, ssl=trusting) as client,
    ):
        with anyio.fail_after(600), pytest.raises(APIConnectionError):
            await client.retrieve("id")
        assert anyio.current_time() > 0
        assert len(server.connections) == 3

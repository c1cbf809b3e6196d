"""A gateway behind TLS, of whose nodes one may show a certificate that nobody trusts."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import trustme

HOST = "127.0.0.1"
_CHUNK = 1 << 16


class _Contexts(NamedTuple):
    client: ssl.SSLContext
    trusted: ssl.SSLContext
    untrusted: ssl.SSLContext


@lru_cache(maxsize=1)
def _contexts() -> _Contexts:
    authority, client = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(client)
    return _Contexts(client, _server_context(authority), _server_context(trustme.CA()))


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST).configure_cert(context)
    return context


@asynccontextmanager
async def tls_nodes(url: str, is_bad: Callable[[], bool]) -> AsyncIterator[tuple[str, Any]]:
    """Serve a gateway over TLS; give the new address, and the context that trusts its good nodes.

    `is_bad` is asked at each new connection: whether it reached the node with the bad certificate.
    """
    contexts = _contexts()
    front = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)

    def choose(tls: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        tls.context = contexts.untrusted if is_bad() else contexts.trusted

    front.sni_callback = choose
    port = urlsplit(url).port
    server = await asyncio.start_server(lambda *ends: _relay(port, *ends), HOST, 0, ssl=front)
    async with server:
        yield f"https://{HOST}:{server.sockets[0].getsockname()[1]}", contexts.client


async def _relay(
    port: int | None, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Carry a connection's bytes to the gateway and back."""
    inner_reader, inner_writer = await asyncio.open_connection(HOST, port)
    ways = (_carry(reader, inner_writer), _carry(inner_reader, writer))
    await asyncio.gather(*ways)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK):
            writer.write(data)
    except OSError:
        pass  # either end may leave at any time
    finally:
        writer.close()

"""One image over HTTP, in a session that has no key."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import aiohttp

from ideogram_async._downloads.images import FetchError, check_size, checked_suffix
from ideogram_async._downloads.settings import Downloads
from ideogram_async._downloads.ssrf import may_connect, port_of, redirected, rejection_reason
from ideogram_async._protocol.sanitize import clean

MAX_REDIRECTS = 3
STALL_SECONDS = 30.0
"""Longest time without a received byte."""
BLOCK_BYTES = 1 << 20
"""Bytes that are written at once. One download keeps about as much in memory."""
_MOVED = {301, 302, 303, 307, 308}

Write = Callable[[bytearray], Awaitable[object]]


class PrivateAddressError(OSError):
    """A host name has an address that is not public.

    Its text is the same for each address: of errors with different texts the connector makes one
    that is of no type any more.
    """

    def __init__(self, address: str) -> None:
        super().__init__("no public address")
        self.address = address


class Fetcher:
    """A session for images only. It connects to public addresses only."""

    def __init__(
        self,
        downloads: Downloads,
        *,
        proxy: str | None,
        connect_timeout: float,
        user_agent: str | None,
    ) -> None:
        self._downloads = downloads
        self._proxy = proxy
        self._loopback_port = port_of(downloads.assets_url) if downloads.on_loopback else None
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=0,  # the downloader limits their number
                ssl=downloads.ssl or True,
                socket_factory=self._socket if proxy is None else None,
            ),
            headers={"Accept": "image/*", "Accept-Encoding": "identity"}
            | ({} if user_agent is None else {"User-Agent": user_agent}),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=connect_timeout, sock_read=STALL_SECONDS
            ),
            trust_env=False,  # no netrc, no proxy of the environment
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def fetch(self, url: str, write: Write) -> str:
        """Pass the bytes of an image to `write`. Return the file suffix of its type.

        Raises:
            FetchError: The image was not fetched; `retryable` says whether the fault is transient.

        """
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with await self._get(url) as response:
                    if response.status not in _MOVED:
                        return await self._receive(response, write)
                    target = redirected(url, response.headers.get("Location"))
                    if target is None:
                        raise FetchError("a redirect leads nowhere")
                    url = target
        except (aiohttp.ClientError, OSError) as error:
            raise _translated(error) from None
        raise FetchError(f"more than {MAX_REDIRECTS} redirects")

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        reason = rejection_reason(url, self._downloads.assets_url, proxied=self._proxy is not None)
        if reason is not None:
            raise FetchError(reason)
        return await self._session.get(url, allow_redirects=False, proxy=self._proxy)

    async def _receive(self, response: aiohttp.ClientResponse, write: Write) -> str:
        max_bytes = self._downloads.max_bytes
        block, size = bytearray(), 0
        try:
            suffix = checked_suffix(response.status, response.headers, max_bytes=max_bytes)
            async for chunk in response.content.iter_any():
                size += len(chunk)
                check_size(size, max_bytes)
                block += chunk
                if len(block) >= BLOCK_BYTES:
                    await write(block)
                    block = bytearray()
        except FetchError:
            response.close()  # the rest of the answer is not read
            raise
        if block:
            await write(block)
        return suffix

    def _socket(self, info: tuple[Any, Any, int, str, Any]) -> socket.socket:
        """Return the socket for an address of a host name: the address is checked here.

        A check before the look-up would not help: a second look-up can give another address.
        """
        family, kind, protocol, _, (address, port, *_rest) = info
        if not may_connect(address, port, self._loopback_port):
            raise PrivateAddressError(address)
        return socket.socket(family, kind, protocol)


def _translated(error: Exception) -> FetchError:
    """Return our own error for one of aiohttp's, whose text may hold an address or header."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, PrivateAddressError):
        return FetchError(f"its host is at {cause.address}, which is no public address")
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(f"the certificate is not trusted, {cause.verify_message!r}")
    if isinstance(error, aiohttp.InvalidURL):
        return FetchError("its address is not valid")
    if isinstance(error, TimeoutError):
        return FetchError("the server sent nothing in time", retryable=True)
    reason = clean(getattr(cause, "strerror", None) or "") or type(error).__name__
    return FetchError(f"no complete answer: {reason}", retryable=True)

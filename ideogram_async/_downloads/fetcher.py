"""One image over HTTP: with its own session, which knows no key."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import aiohttp

from ideogram_async._downloads.images import FetchError, check_size, suffix_told
from ideogram_async._downloads.settings import Downloads
from ideogram_async._downloads.ssrf import may_connect, objection, port_of, redirected
from ideogram_async._protocol.sanitize import clean

REDIRECTS = 3
STALL = 30.0
"""Seconds in which something must come."""
BLOCK = 1 << 20
"""Bytes that are written at once, and so about what a download keeps in memory."""
_MOVED = {301, 302, 303, 307, 308}

Write = Callable[[bytearray], Awaitable[object]]


class PrivateAddressError(OSError):
    """A name stands for an address that is not on the open Internet."""


class Fetcher:
    """A session for images alone; connects to public addresses alone."""

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
                limit=0,  # the downloader bounds them
                ssl=downloads.ssl or True,
                socket_factory=self._socket if proxy is None else None,
            ),
            headers={"Accept": "image/*", "Accept-Encoding": "identity"}
            | ({} if user_agent is None else {"User-Agent": user_agent}),
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(
                total=None, sock_connect=connect_timeout, sock_read=STALL
            ),
            trust_env=False,  # no netrc, no proxy of the environment
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def fetch(self, url: str, write: Write) -> str:
        """Write the image at an address; give the suffix of its type, or raise `Unfetched`."""
        try:
            for _ in range(REDIRECTS + 1):
                async with await self._get(url) as response:
                    if response.status not in _MOVED:
                        return await self._receive(response, write)
                    url = _followed(url, response.headers)
        except (aiohttp.ClientError, OSError) as error:
            raise _in_own_words(error) from None
        raise FetchError(f"more than {REDIRECTS} redirects")

    async def _get(self, url: str) -> aiohttp.ClientResponse:
        why = objection(url, self._downloads.assets_url, proxied=self._proxy is not None)
        if why is not None:
            raise FetchError(why)
        return await self._session.get(url, allow_redirects=False, proxy=self._proxy)

    async def _receive(self, response: aiohttp.ClientResponse, write: Write) -> str:
        most = self._downloads.max_bytes
        block, size = bytearray(), 0
        try:
            suffix = suffix_told(response.status, response.headers, max_bytes=most)
            async for chunk in response.content.iter_any():
                size += len(chunk)
                check_size(size, most)
                block += chunk
                if len(block) >= BLOCK:
                    await write(block)
                    block = bytearray()
        except FetchError:
            response.close()  # what else would come is not read
            raise
        if block:
            await write(block)
        return suffix

    def _socket(self, info: tuple[Any, Any, int, str, Any]) -> socket.socket:
        """Make the socket for one of a name's addresses: here it is known which one."""
        family, kind, protocol, _, (address, port, *_rest) = info
        if not may_connect(address, port, self._loopback_port):
            raise PrivateAddressError(f"its host is at {address}, which is no public address")
        return socket.socket(family, kind, protocol)


def _followed(url: str, headers: Mapping[str, str]) -> str:
    target = redirected(url, headers.get("Location"))
    if target is None:
        raise FetchError("a redirect leads nowhere")
    return target


def _in_own_words(error: Exception) -> FetchError:
    cause = getattr(error, "os_error", error)
    if isinstance(cause, PrivateAddressError):
        return FetchError(str(cause))
    if isinstance(cause, ssl.SSLCertVerificationError):
        return FetchError(f"the certificate is not trusted, {cause.verify_message!r}")
    if isinstance(error, aiohttp.InvalidURL):
        return FetchError("its address is not valid")
    if isinstance(error, TimeoutError):
        return FetchError("nothing came for too long", retryable=True)
    why = clean(getattr(cause, "strerror", None) or "") or type(error).__name__
    return FetchError(f"no whole answer came: {why}", retryable=True)

"""What it means that a query got no answer: in words that name the party that caused it."""

from __future__ import annotations

import errno
import os
import socket
import ssl
import traceback
from collections.abc import Iterator
from http import HTTPStatus
from urllib.parse import urlsplit

import aiohttp

from ideogram_async._config import Settings
from ideogram_async._errors import APIConnectionError, APIError, APITimeoutError
from ideogram_async._logging import logger
from ideogram_async._protocol.outcome import Fault, FaultKind
from ideogram_async._protocol.sanitize import clean

_NETWORK = (aiohttp.ClientError, OSError)  # a TimeoutError is an OSError
_UNCONNECTED = (
    aiohttp.ClientConnectorError,
    aiohttp.ConnectionTimeoutError,
    aiohttp.ClientHttpProxyError,
)
_NO_SUCH_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
_RUN_OUT = {
    errno.EMFILE: "this process has no more file descriptors (EMFILE)",
    errno.ENFILE: "this machine has no more file descriptors (ENFILE)",
    errno.EADDRNOTAVAIL: "this machine has no more local ports or addresses (EADDRNOTAVAIL)",
    errno.ENOMEM: "this machine has no more memory (ENOMEM)",
}
_LOOKED_UP = {
    socket.EAI_NONAME: "name not known",
    getattr(socket, "EAI_NODATA", socket.EAI_NONAME): "name not known",
    socket.EAI_AGAIN: "the name could not be looked up for now",
}
_BY_NAME = {
    "DeadConnectionError": "it closed the connection, twice",
    "ServerDisconnectedError": "it closed the connection",
    "ClientConnectorError": "it cannot be reached",
    "ClientResponseError": "what came could not be read as HTTP",
    "UnreadableError": "what came could not be read as HTTP",
    "ClientPayloadError": "its answer broke off",
    "LineTooLong": "a header of its answer is too long",
    "ContentEncodingError": "its answer could not be decoded",
}
"""Words for errors by the names of their classes: some of them aiohttp does not publish."""


class FaultReader:
    """Reads what was raised instead of an answer.

    aiohttp's errors hold the key, so each is put in words of our own.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._secrets = settings.secrets
        self._gateway = urlsplit(settings.base_url).netloc
        proxy = urlsplit(settings.proxy or "")
        self._proxy = (proxy.hostname, proxy.port or (443 if proxy.scheme == "https" else 80))
        self._proxy_name = "the proxy {}:{}".format(*self._proxy)

    def fault(self, request_id: str, error: Exception) -> Fault:
        """Return the fault that an error means.

        1. An untrusted certificate: the address is wrong, or the setting `ssl`.
        2. No error of the network, so one of our own: the id fails.
        3. This process, or its machine, has run out of something: nobody else's fault.
        4. No connection was made: the proxy's or the gateway's fault, see `_kind`.
        5. No whole answer came in time.
        6. The gateway breaks off, or answers no HTTP.
        """
        cause = getattr(error, "os_error", error)
        if isinstance(cause, ssl.SSLCertVerificationError):
            return self._untrusted(request_id, error, cause)
        if not isinstance(error, _NETWORK):
            return self._own(request_id, error)
        if isinstance(cause, OSError) and cause.errno in _RUN_OUT and not _is_lookup(cause):
            what = f"no query was sent: {_RUN_OUT[cause.errno]}"
            return Fault(FaultKind.EXHAUSTED, APIConnectionError(what, request_id=request_id))
        what = f"no answer from {self._party(error)}: {self._words(error, cause)}"
        told = APITimeoutError if isinstance(error, TimeoutError) else APIConnectionError
        return Fault(_kind(error, cause), told(what, request_id=request_id))

    def refused_by_proxy(self, request_id: str, status: int) -> Fault:
        """Return the fault of a proxy that answers in the gateway's place.

        The connection is closed: a proxy often closes it, too, after the next query has begun.
        """
        what = f"no answer from {self._proxy_name}: {_refusal(status)}"
        error = APIConnectionError(what, request_id=request_id)
        return Fault(FaultKind.CONNECTION, error, is_misplaced=True)

    def _untrusted(
        self, request_id: str, error: Exception, cause: ssl.SSLCertVerificationError
    ) -> Fault:
        proxied = self._is_the_proxys(error)
        told = APIConnectionError(
            f"{self._proxy_name if proxied else self._gateway}: its certificate is not trusted,"
            f" {cause.verify_message!r}; the setting ssl takes a context of your own",
            request_id=request_id,
        )
        return Fault(FaultKind.CONNECTION if proxied else FaultKind.ADDRESS, told)

    def _own(self, request_id: str, error: Exception) -> Fault:
        told = "".join(traceback.format_exception(error))
        for secret in self._secrets:
            told = told.replace(secret, "***")
        logger.error("request %r: no query could be made\n%s", request_id, told)
        what = f"no query could be made: {type(error).__name__}: {error}"
        failed = APIError(clean(what, self._secrets), request_id=request_id)
        if not any(secret in repr(error) for secret in self._secrets):
            failed.__cause__ = error.with_traceback(None)  # its frames hold the key
        return Fault(FaultKind.LOCAL, failed)

    def _is_the_proxys(self, error: Exception) -> bool:
        if self._settings.proxy is None:
            return False
        if isinstance(error, aiohttp.ClientConnectorError):
            return (error.host, error.port) == self._proxy
        return isinstance(error, aiohttp.ClientHttpProxyError | aiohttp.ConnectionTimeoutError)

    def _party(self, error: Exception) -> str:
        """Return the name of who caused an error: of both where either may have."""
        if self._settings.proxy is None:
            return self._gateway
        if self._is_the_proxys(error):
            return self._proxy_name
        return f"{self._gateway} through {self._proxy_name}"

    def _words(self, error: Exception, cause: Exception) -> str:
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            return f"no connection within connect_timeout, {self._settings.connect_timeout:g} s"
        if isinstance(error, TimeoutError):
            return f"no whole answer within attempt_timeout, {self._settings.attempt_timeout:g} s"
        if isinstance(error, aiohttp.ClientHttpProxyError):
            return _refusal(error.status)
        if isinstance(cause, OSError) and cause.errno:
            return self._of_the_system(cause)
        known = [_BY_NAME[name] for name in _names(error) if name in _BY_NAME]
        return known[-1] if known else type(error).__name__

    def _of_the_system(self, cause: OSError) -> str:
        number = cause.errno or 0
        if _is_lookup(cause):
            return _LOOKED_UP.get(number) or f"the name could not be looked up ({number})"
        if isinstance(cause, ssl.SSLError) or number < 0:
            return clean(cause.strerror or str(cause), self._secrets)
        words = os.strerror(number)
        return words[:1].lower() + words[1:]


def _kind(error: Exception, cause: Exception) -> FaultKind:
    """Return the kind of a fault of the network, which is nobody's own error."""
    if _is_lookup(cause) and getattr(cause, "errno", None) in _NO_SUCH_NAME:
        return FaultKind.UNKNOWN_HOST
    if isinstance(error, _UNCONNECTED):
        return FaultKind.CONNECTION
    return FaultKind.TIMEOUT if isinstance(error, TimeoutError) else FaultKind.TRANSIENT


def _is_lookup(cause: Exception) -> bool:
    return isinstance(cause, socket.gaierror)  # its numbers are of their own kind


def _names(error: BaseException | None) -> Iterator[str]:
    """Go through the names of an error's classes, and of those behind it, the innermost last."""
    while error is not None:
        yield from (kind.__name__ for kind in reversed(type(error).__mro__))
        error = error.__cause__


def _refusal(status: int) -> str:
    known = status in list(HTTPStatus)
    return f"it refused: {status} {HTTPStatus(status).phrase if known else ''}".rstrip()

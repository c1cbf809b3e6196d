"""An image of a request: its address, the name of its file, and the checks of an answer's head.

No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import sha256
from http import HTTPStatus
from typing import Literal, NamedTuple

from ideogram_async._models import ASSETS_URL, SamplingResponse
from ideogram_async._protocol.headers import retry_after
from ideogram_async._validation import check_type

Quality = Literal["lossless", "balanced"]

SUFFIXES = {
    "image/png": ".png",
    "image/jpeg": ".jpg",
    "image/webp": ".webp",
    "image/avif": ".avif",
    "image/gif": ".gif",
}
_QUALITY_SUFFIXES: dict[Quality, str] = {"lossless": "", "balanced": ".balanced"}
_PLAIN_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_PLAIN_PREFIX = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?")
_TRANSIENT = {
    HTTPStatus.NOT_FOUND,  # a new image, for some seconds (seen)
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.TOO_EARLY,
    HTTPStatus.TOO_MANY_REQUESTS,
}


class FetchError(Exception):
    """An image was not fetched. The message says why, and becomes that of a `DownloadError`."""

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = False,
        status: int | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.status = status
        self.wait = wait
        """Seconds that the server asked to wait."""


class Image(NamedTuple):
    """The address of an image, and the name of its file without the suffix."""

    response_id: str | None
    url: str
    stem: str


def check_quality(quality: str) -> None:
    """Check that the quality is known."""
    if quality not in {"lossless", "balanced"}:
        raise ValueError(f"quality is {quality!r}: expected 'lossless' or 'balanced'")


def check_prefix(prefix: str) -> None:
    """Check the start of the files' names: it must not lead out of their directory."""
    check_type("prefix", prefix, str, "a str")
    if not _PLAIN_PREFIX.fullmatch(prefix):
        raise ValueError(
            f"prefix is {prefix!r:.80}: expected up to 64 letters, digits, '_', '-' and '.',"
            " the first neither '-' nor '.'"
        )


def image_of(
    response: SamplingResponse, quality: Quality, *, prefix: str, assets_url: str
) -> Image:
    """Return the image of a response; raise `FetchError` if it has no address."""
    url = response.lossless_url if quality == "lossless" else response.url
    if url is None:
        raise FetchError(f"it has no id, which the {quality} address is derived from")
    if url.startswith(f"{ASSETS_URL}/"):
        url = assets_url + url.removeprefix(ASSETS_URL)
    stem = prefix + _name(response.response_id or url) + _QUALITY_SUFFIXES[quality]
    return Image(response.response_id, url, stem)


def _name(identity: str) -> str:
    """Return a safe file name for an id, which is the gateway's text: itself, or its digest."""
    if _PLAIN_ID.fullmatch(identity):
        return identity
    return "=" + sha256(identity.encode(errors="backslashreplace")).hexdigest()[:32]


def checked_suffix(status: int, headers: Mapping[str, str], *, max_bytes: int) -> str:
    """Check the head of an answer. Return the file suffix of the image's type.

    Raises:
        FetchError: The status is not 200; the type is not an image's; the answer is encoded, is
            too large, or does not state its length.

    """
    if status != HTTPStatus.OK:
        transient = status in _TRANSIENT or status >= HTTPStatus.INTERNAL_SERVER_ERROR
        raise FetchError(
            f"the answer is {status}",
            retryable=transient,
            status=status,
            wait=retry_after(headers),
        )
    kind = headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind not in SUFFIXES:
        raise FetchError(f"the answer is no image but {kind[:80]!r}", status=status)
    if headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise FetchError("the answer is encoded, which was not requested", status=status)
    length = headers.get("Content-Length", "")
    if length.isascii() and length.isdigit():
        check_size(int(length), max_bytes)
    elif "chunked" not in headers.get("Transfer-Encoding", "").lower():
        raise FetchError("the answer does not state its length: it can be cut", status=status)
    return SUFFIXES[kind]


def check_size(size: int, max_bytes: int) -> None:
    """Raise `FetchError` for more bytes than an image may have."""
    if size > max_bytes:
        raise FetchError(f"it is larger than max_bytes, {max_bytes}")

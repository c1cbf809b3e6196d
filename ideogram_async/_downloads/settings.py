"""How a client downloads images: limits of their own, apart from those of polling."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import urlsplit

from ideogram_async._models import ASSETS_URL
from ideogram_async._validation import check_base_url, check_count, check_seconds, is_loopback


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloads:
    """How images are downloaded; polling has its own connections, limits and keys.

    Args:
        max_at_once: Images downloaded at once.
        max_bytes: Bytes that an image may have; a lossless 8K image was seen to have 82 MB.
        timeout: Seconds that one try may take; a fault that may pass is tried five times more.
        assets_url: What stands in place of `https://ideogram.ai/assets` in the addresses of
            images, where something else serves them. Always https, but for `allow_loopback`.
        allow_loopback: Let `assets_url` be a loopback address, with `http://` if need be: for
            a gateway in a test. No other loopback address or port is connected to.
        ssl: A TLS context of your own for images; the client's `ssl` does not concern them.

    Raises:
        ValueError: A setting is out of its range.
        TypeError: A setting is of another type.

    """

    max_at_once: int = 4
    max_bytes: int = 256 << 20
    timeout: float = 300.0
    assets_url: str = ASSETS_URL
    allow_loopback: bool = False
    ssl: SSLContext | None = None

    def __post_init__(self) -> None:
        check_count("max_at_once", self.max_at_once)
        check_count("max_bytes", self.max_bytes)
        if check_seconds("timeout", self.timeout) is None:
            raise TypeError("timeout is None: a download without a limit could hang for ever")
        object.__setattr__(self, "assets_url", self._checked_url())

    @property
    def on_loopback(self) -> bool:
        """Whether images come from this machine itself."""
        return is_loopback(urlsplit(self.assets_url).hostname or "")

    def _checked_url(self) -> str:
        try:
            url = check_base_url(self.assets_url, allow_http=True)
        except (TypeError, ValueError) as error:
            message = str(error).replace("base_url", "assets_url")
            raise type(error)(message) from None
        loopback = is_loopback(urlsplit(url).hostname or "")
        if loopback and not self.allow_loopback:
            raise ValueError(f"assets_url {url!r} is a loopback address: it needs allow_loopback")
        if not loopback and not url.startswith("https://"):
            raise ValueError(f"assets_url is {url!r}: expected an https:// address")
        return url

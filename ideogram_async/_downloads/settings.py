"""The settings of downloads. Their limits are separate from those of polling."""

from __future__ import annotations

from dataclasses import dataclass
from ssl import SSLContext
from urllib.parse import urlsplit

from ideogram_async._models import ASSETS_URL
from ideogram_async._validation import check_base_url, check_count, check_limit, is_loopback


@dataclass(frozen=True, kw_only=True, slots=True)
class Downloads:
    """The settings of image downloads. Downloads share no connections, limits or keys with polling.

    Args:
        max_at_once: Images that are downloaded at once.
        max_bytes: Largest size of an image, in bytes. A lossless 8K image has 82 MB (seen).
        timeout: Seconds that one try may take. A transient fault is retried five times.
        assets_url: The address that replaces `https://ideogram.ai/assets` in the images'
            addresses, if another server has the images. `https://`, unless `allow_loopback`.
        allow_loopback: Allow a loopback address as `assets_url`, also with `http://`, for a
            gateway in a test. Connections to other loopback addresses and ports are refused.
        ssl: A TLS context for downloads. The client's `ssl` is not used for them.

    Raises:
        ValueError: A setting is out of its range.
        TypeError: A setting has a wrong type.

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
        check_limit("timeout", self.timeout, "a download")
        url = check_base_url(self.assets_url, allow_http=True, name="assets_url")
        object.__setattr__(self, "assets_url", url)
        if self.on_loopback and not self.allow_loopback:
            raise ValueError(f"assets_url {url!r} is a loopback address: it needs allow_loopback")
        if not self.on_loopback and not url.startswith("https://"):
            raise ValueError(f"assets_url is {url!r}: expected an https:// address")

    @property
    def on_loopback(self) -> bool:
        """Whether images are served by this machine."""
        return is_loopback(urlsplit(self.assets_url).hostname or "")

"""Where a download may lead: an image's address is the gateway's text, and may name any host."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Tell whether an IP address is one of the open Internet.

    Python's `is_global` alone says yes to multicast, and to NAT64 of a private address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        embedded = _embedded(ip)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and ip.is_global
        ip = embedded
    return ip.is_global and not ip.is_multicast


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """Give the IPv4 address that a packet to this one ends up at, if any."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def may_connect(address: str, port: int, loopback_port: int | None) -> bool:
    """Tell whether a download may connect there; loopback at the one port that is allowed."""
    if loopback_port is not None and ip_address(address).is_loopback:
        return port == loopback_port
    return is_public(address)


def objection(url: str, assets_url: str, *, proxied: bool = False) -> str | None:
    """Say why an address must not be asked for an image, or None where it may be.

    Through a proxy, which looks names up where no check of ours reaches, the host of the
    settings alone may be.
    """
    parts, assets = _split(url), urlsplit(assets_url)
    if parts is None or not parts.hostname:
        return "its address is not valid"
    if "@" in parts.netloc:
        return "its address holds a user name"
    if _origin(parts) == _origin(assets):
        return None
    if parts.scheme != "https":
        return f"its address is not https but {parts.scheme[:20]!r}"
    if proxied and parts.hostname != assets.hostname:
        return f"through a proxy, images come from {assets.hostname} alone"
    return None


def redirected(url: str, location: str | None) -> str | None:
    """Give the address that a redirect leads to, or None where it leads nowhere."""
    try:
        return urljoin(url, location) if location else None
    except ValueError:
        return None


def port_of(url: str) -> int:
    """Give the port that an address is served at."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        valid = parts.port != 0
    except ValueError:  # brackets, or a port that is none
        return None
    return parts if valid else None


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port

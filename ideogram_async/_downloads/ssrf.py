"""The addresses that a download may use. An image's address is the gateway's text.

It can name any host, also one in the private network of this machine (server-side request forgery).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urljoin, urlsplit

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Return whether an IP address is public.

    `is_global` alone does not suffice: it is true for multicast, and for the NAT64 form of a
    private address.
    """
    ip = ip_address(address)
    if isinstance(ip, IPv6Address):
        embedded = _embedded(ip)
        if embedded is None:
            return ip in _GLOBAL_UNICAST and ip.is_global
        ip = embedded
    return ip.is_global and not ip.is_multicast


def _embedded(ip: IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that packets to this address are sent on to, if there is one."""
    if ip in _NAT64:
        return IPv4Address(int(ip) & 0xFFFFFFFF)
    return ip.ipv4_mapped or ip.sixtofour


def may_connect(address: str, port: int, loopback_port: int | None) -> bool:
    """Return whether a download may connect to the address.

    It may if the address is public, or is loopback and the port is `loopback_port`.
    """
    if loopback_port is not None and ip_address(address).is_loopback:
        return port == loopback_port
    return is_public(address)


def rejection_reason(url: str, assets_url: str, *, proxied: bool = False) -> str | None:
    """Return why a download must not use an address, or None if it may.

    With a proxy, only the host of `assets_url` is allowed: the proxy looks the name up, so that
    its address cannot be checked here.
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
        return f"through a proxy, images are loaded from {assets.hostname} only"
    return None


def redirected(url: str, location: str | None) -> str | None:
    """Return the address that a redirect leads to, or None if it is missing or not valid."""
    try:
        return urljoin(url, location) if location else None
    except ValueError:
        return None


def port_of(url: str) -> int:
    """Return the port of an address: its own, or the scheme's."""
    parts = urlsplit(url)
    return parts.port or (443 if parts.scheme == "https" else 80)


def _split(url: str) -> SplitResult | None:
    try:
        parts = urlsplit(url)
        valid = parts.port != 0
    except ValueError:  # wrong brackets, or a port that is no number
        return None
    return parts if valid else None


def _origin(parts: SplitResult) -> tuple[str, str | None, int | None]:
    return parts.scheme, parts.hostname, parts.port

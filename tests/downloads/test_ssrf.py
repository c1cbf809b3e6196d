"""Which addresses a download may connect to."""

from __future__ import annotations

import pytest

from ideogram_async._downloads.ssrf import is_public, may_connect


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "104.18.0.1", "2606:4700::1111", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_public_addresses(address: str) -> None:
    """Addresses of the open Internet, also where they stand within an IPv6 one."""
    assert is_public(address)
    assert may_connect(address, 443, None)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104 - none to bind to
        "10.1.2.3",
        "100.64.0.1",
        "127.0.0.1",
        "127.255.255.254",
        "169.254.169.254",
        "172.16.0.1",
        "192.0.2.1",
        "192.168.0.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:10.0.0.1",
        "::ffff:127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        "64:ff9b:1::101:101",
        "100::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "2002:a00:1::1",
        "fc00::1",
        "fd12:3456::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_other_addresses(address: str) -> None:
    """Private, loopback, link-local, multicast, reserved, and IPv6 ones that lead to such."""
    assert not is_public(address)
    assert not may_connect(address, 443, None)


def test_loopback_is_allowed_at_its_one_port() -> None:
    """Where loopback is allowed, it is at one port; nothing else that is private is."""
    assert may_connect("127.0.0.1", 8000, 8000)
    assert may_connect("::1", 8000, 8000)
    assert not may_connect("127.0.0.1", 8001, 8000)
    assert not may_connect("10.0.0.1", 8000, 8000)

"""The environment in which Ray stays on loopback; imported before Ray is, which reads it once."""

from __future__ import annotations

import os
import secrets

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray takes 127.0.0.1 for its address only where it is told that it makes no cluster …
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # … and else keeps its token in the home directory.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # A node that is gone is missed after 1 s, in place of 15.
    "RAY_health_check_period_ms": "200",
}

MEMORY = 80 * 1024 * 1024
"""Bytes of a node's object store: about the least that Ray takes."""

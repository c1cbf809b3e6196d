"""The environment in which Ray stays on loopback; import it before Ray, which reads it once."""

from __future__ import annotations

import os
import secrets

os.environ |= {
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray uses 127.0.0.1 as its address only where this says that it makes no cluster …
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # … and without this pair it keeps a token in the home directory.
    "RAY_AUTH_MODE": "token",
    "RAY_AUTH_TOKEN": secrets.token_hex(32),
    # By default a worker waits wherever another process has something to do.
    "RAY_worker_niceness": "0",
    # A node that is gone is noticed after 1 s instead of 15 s.
    "RAY_health_check_period_ms": "200",
}

OBJECT_STORE_BYTES = 80 * 1024 * 1024
"""The size of a node's object store: about the least that Ray accepts."""

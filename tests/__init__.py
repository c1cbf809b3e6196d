"""Tests of `ideogram_async`; the environment in which they and their child processes run."""

from __future__ import annotations

import os

# A user's machine sets neither.
for variable in ("PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"):
    os.environ.pop(variable, None)

# No test leaves this machine; aiohttp reads its certificates on import, for 0.1 s per process.
os.environ |= {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}

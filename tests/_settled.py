"""A client's settings, settled as its constructor settles them."""

from __future__ import annotations

from typing import Any

from ideogram_async import Downloads
from ideogram_async._settings import Settings, settle

GATEWAY = "https://gateway.example"
DEFAULTS: dict[str, Any] = {
    "token": None,
    "access_token": None,
    "credentials": (),
    "max_in_flight": 20,
    "max_rate": None,
    "deadline": 900.0,
    "attempt_timeout": 30.0,
    "connect_timeout": 5.0,
    "max_body": 1 << 20,
    "proxy": None,
    "ssl": True,
    "headers": None,
    "user_agent": None,
    "allow_http": False,
    "downloads": Downloads(),
    "environ": {},
}


def settled(base_url: Any = GATEWAY, **changes: Any) -> Settings:
    """Settle the defaults with some changes, in an empty environment."""
    return settle(base_url, **{**DEFAULTS, **changes})

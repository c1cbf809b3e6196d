"""A client's settings, checked as its constructor checks them."""

from __future__ import annotations

from typing import Any

from ideogram_async._config import Settings, checked_settings

GATEWAY = "https://gateway.example"


def settled(base_url: Any = GATEWAY, *, environ: Any = None, **options: Any) -> Settings:
    """Check some options, in an empty environment."""
    return checked_settings(base_url, options, environ or {})  # type: ignore[arg-type]

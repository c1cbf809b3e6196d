"""The library's logger, and its level from the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

LOG_VARIABLE = "IDEOGRAM_LOG"
LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("ideogram_async")


def requested_level(environ: Mapping[str, str]) -> str | None:
    """Return the level that the environment asks for, if any; raise `ValueError` for another."""
    level = environ.get(LOG_VARIABLE, "").strip().lower()
    if level and level not in LEVELS:
        raise ValueError(f"{LOG_VARIABLE} is {level!r}: expected {', '.join(LEVELS)}")
    return level.upper() or None


def set_up_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Set the logger's level from `IDEOGRAM_LOG`, unless the application has set a level.

    If the application has no handler, add one that writes to standard error.
    """
    if logger.level != logging.NOTSET:
        return
    try:
        level = requested_level(environ)
    except ValueError as error:
        logger.warning("%s", error)
        return
    if level is None:
        return
    logger.setLevel(level)
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)

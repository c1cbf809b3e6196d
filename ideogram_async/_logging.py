"""The library's logger, and its level from the environment."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

LOG_VARIABLE = "IDEOGRAM_LOG"
LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("ideogram_async")


def set_up_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Set the logger's level from `IDEOGRAM_LOG`, unless the application has set a level.

    If the application has no handler, add one that writes to standard error.
    """
    level = environ.get(LOG_VARIABLE, "").strip().lower()
    if not level or logger.level != logging.NOTSET:
        return
    if level not in LEVELS:
        logger.warning("%s is %r: expected %s", LOG_VARIABLE, level, ", ".join(LEVELS))
        return
    logger.setLevel(level.upper())
    if not logger.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        logger.addHandler(handler)

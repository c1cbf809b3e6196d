"""The library's log: standard logging, at the level that the environment asks for."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

LOG_VARIABLE = "IDEOGRAM_LOG"
LEVELS = ("debug", "info", "warning", "error")

logger = logging.getLogger("ideogram_async")


def set_up_logging(environ: Mapping[str, str] = os.environ) -> None:
    """Set the level that the environment asks for, unless the application has set one.

    What the application does with its log is kept; where it has no handler, standard error serves.
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

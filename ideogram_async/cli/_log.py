"""The library's log on standard error."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from ideogram_async.cli._console import printable
from ideogram_async.cli._exit_codes import Code, CommandError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "IDEOGRAM_LOG"
LEVELS = ("debug", "info", "warning", "error")


def log_to_stderr(environ: Mapping[str, str]) -> None:
    """Set the log up as the environment asks."""
    level = environ.get(VARIABLE, "").strip().lower()
    if not level:
        return
    if level not in LEVELS:
        raise CommandError(f"{VARIABLE} is {level!r}: expected {', '.join(LEVELS)}", Code.USAGE)
    handler = _Handler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("ideogram_async")
    logger.setLevel(level.upper())
    logger.addHandler(handler)


class _Handler(logging.Handler):
    """Writes to what `sys.stderr` is now: a live bar replaces it, so that lines go above it."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log never ends the work
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Keeps a line a line: the gateway's words may be in it."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

"""The library's log on standard error."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping

from ideogram_async._logging import logger, requested_level
from ideogram_async._protocol.sanitize import printable
from ideogram_async.cli._exit_codes import Code, CommandError


def log_to_stderr(environ: Mapping[str, str]) -> None:
    """Set the log up as the environment asks; by default errors alone are shown.

    What the client warns of, the commands say in their own words.
    """
    try:
        level = requested_level(environ)
    except ValueError as error:
        raise CommandError(str(error), Code.USAGE) from None
    handler = _Handler()
    handler.setFormatter(_Formatter("%(asctime)s %(levelname)s %(message)s"))
    if level is None:
        handler.setLevel(logging.ERROR)
    else:
        logger.setLevel(level)
    for former in [one for one in logger.handlers if isinstance(one, _Handler)]:
        logger.removeHandler(former)
    logger.addHandler(handler)


class _Handler(logging.Handler):
    """Writes to the present `sys.stderr`, which a live bar replaces: lines go above the bar."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            sys.stderr.write(self.format(record) + "\n")
        except Exception:  # noqa: BLE001 - a log never ends the work
            self.handleError(record)


class _Formatter(logging.Formatter):
    """Keeps each message on one line: it may hold text of the gateway."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        record.message = printable(record.message)
        return super().formatMessage(record)

"""What becomes of a terminal when the process is told to end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h\n"
ENDING = ("SIGTERM", "SIGHUP")
"""Signals that end a process without an exception; a system may lack the second."""


def show_cursor_at_the_end() -> None:
    """Show the cursor again before such a signal ends the process, as it does by default.

    A live display hides it. A signal that is ignored, as under `nohup`, stays so.
    """
    if not any(stream is not None and stream.isatty() for stream in (sys.stdout, sys.stderr)):
        return
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)


def _end(number: int, _frame: FrameType | None) -> None:
    for stream in (sys.stderr, sys.stdout):
        if stream is not None and stream.isatty():
            with suppress(OSError):  # the terminal has gone, which SIGHUP says
                os.write(stream.fileno(), SHOW_CURSOR)
            break
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)

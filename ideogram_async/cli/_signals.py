"""What becomes of a terminal when the process is told to end."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from functools import partial
from types import FrameType

SHOW_CURSOR = b"\x1b[?25h\n"
ENDING = ("SIGTERM", "SIGHUP")
"""Signals that end a process without an exception; a system may lack the second."""


def show_cursor_at_the_end() -> None:
    """Show the cursor again before such a signal ends the process, as it does by default.

    A live display hides it. A signal that is ignored, as under `nohup`, stays so.
    """
    streams = (sys.stderr, sys.stdout)
    terminal = next((one for one in streams if one is not None and one.isatty()), None)
    if terminal is None:
        return
    end = partial(_end, terminal.fileno())
    for name in ENDING:
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, end)


def _end(terminal: int, number: int, _frame: FrameType | None) -> None:
    with suppress(OSError):  # the terminal has gone, which SIGHUP says
        os.write(terminal, SHOW_CURSOR)
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)

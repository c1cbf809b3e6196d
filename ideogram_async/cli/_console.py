"""Text output, on a terminal or in a file."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
from rich.console import Console as RichConsole
from rich.console import RenderableType
from rich.live import Live
from rich.text import Text

from ideogram_async import SamplingRequest
from ideogram_async._protocol.sanitize import printable


def shortened(text: str, longest: int) -> str:
    """Make a text of the gateway printable, and cut it."""
    text = printable(text[: 20 * longest])
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def counted(number: int, one: str, many: str) -> str:
    """Return a number of things in words: 1 query, 2 queries."""
    return f"{number:,} {one if number == 1 else many}"


def json_line(record: SamplingRequest) -> bytes:
    r"""Encode a record, with `\u` escapes for all that could move a terminal's cursor.

    JSON leaves DEL, C1 controls and bidi characters as they are.
    """
    text = msgspec.json.encode(record).decode()
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return text.encode() + b"\n"


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


class Console(RichConsole):
    """A console for plain text: no markup, and escape codes on a real terminal alone."""

    def __init__(self, *, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        terminal = stream is not None and stream.isatty()
        super().__init__(
            stderr=stderr,
            markup=False,
            highlight=False,
            emoji=False,
            force_terminal=None if terminal else False,  # whatever FORCE_COLOR says
        )

    def live(self, shown: RenderableType) -> Live | None:
        """Return a display that its caller refreshes, and that goes away; None off a terminal."""
        if not self.is_interactive:
            return None
        return Live(
            shown,
            console=self,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=sys.stderr.isatty(),
            vertical_overflow="crop",
        )

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print one line, of texts and of (text, style)."""
        self.print(Text.assemble(*parts), soft_wrap=True)

    def say_failed(self, reason: str) -> None:
        """Print one line: what has failed, and why."""
        self.say(("failed: ", "red"), printable(reason))

    def say_cut(self, *parts: str | tuple[str, str]) -> None:
        """Print one line; a terminal cuts it at its width."""
        if self.is_terminal:
            self.print(Text.assemble(*parts), no_wrap=True, overflow="ellipsis")
        else:
            self.say(*parts)

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; messages that a full disk does not take are dropped, and nothing else ends."""
        try:
            super().print(*objects, **options)
        except OSError:
            if not self.stderr:
                raise
            self.quiet = True

    def on_broken_pipe(self) -> None:
        """End the command where its output has no reader; without its messages it goes on."""
        if not self.stderr:
            raise BrokenPipeError
        self.quiet = True


def complain(message: str) -> None:
    """Print one line on standard error: what went wrong."""
    Console(stderr=True).say(("ideogram-async: ", "bold red"), printable(message))

"""What the demo shows: a table with a column for each way of polling, what happened, and bars."""

from __future__ import annotations

import asyncio
import io
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.table import Table
from rich.terminal_theme import MONOKAI
from rich.text import Text

from ideogram_async.cli._bars import MOST_COLUMNS, SPARE_LINES, RequestBars, one_line

if TYPE_CHECKING:
    from ideogram_async.testing import Gateway

EVENTS_SHOWN = 6
PICTURE_LINES = 27
SVG = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}">
<style>
.{unique_id}-matrix {{ font: {char_height}px monospace; white-space: pre }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" /></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}<g class="{unique_id}-matrix">
{matrix}
</g></g></svg>
"""
"""Rich's own form without its font, which a browser would load from elsewhere."""


class Side:
    """One way of polling: the gateway that it asks, and when it knew of each end."""

    def __init__(self, name: str, gateway: Gateway) -> None:
        self.name = name
        self.gateway = gateway
        self.known: dict[str, float] = {}
        """Loop times by request id."""

    def ended(self, request_id: str) -> None:
        """Record that the end of a request is known."""
        self.known[request_id] = asyncio.get_running_loop().time()

    def mean_lag(self) -> float | None:
        """Return the mean seconds from the end of a request until it is known, or until now."""
        now = asyncio.get_running_loop().time()
        lags = [
            self.known.get(request_id, now) - submission.completes_at
            for request_id, submission in self.gateway.submissions.items()
            if submission.completes_at <= now
        ]
        return fmean(lags) if lags else None


class DemoFrame:
    """The screen at one time."""

    def __init__(
        self, heading: str, sides: tuple[Side, Side], total: int, bars: RequestBars
    ) -> None:
        self.events: list[str] = []
        self.heading = heading
        self._sides = sides
        self._total = total
        self._bars = bars

    def comparison(self) -> Table:
        """Return the table of what each way costs."""
        table = Table.grid(padding=(0, 3))
        table.add_column(no_wrap=True)
        for _ in self._sides:
            table.add_column(no_wrap=True, justify="right")
        table.add_row("", *(Text(side.name, "bold") for side in self._sides))
        table.add_row("ended", *(f"{len(side.known)} of {self._total}" for side in self._sides))
        table.add_row("queries", *(f"{len(side.gateway.queries)}" for side in self._sides))
        table.add_row("refused (429)", *(f"{side.gateway.refused}" for side in self._sides))
        table.add_row("mean lag", *(_lag(side) for side in self._sides))
        return table

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, MOST_COLUMNS)
        lines: list[RenderableType] = [
            Text(self.heading, "bold", no_wrap=True, overflow="ellipsis"),
            "",
            self.comparison(),
            "",
            *(one_line(event) for event in self.events[-EVENTS_SHOWN:]),
            "",
        ]
        height = len(lines) + self.comparison().row_count - 1
        room = console.height - height - SPARE_LINES
        yield Constrain(Group(*lines, *self._bars.lines(room, width)), width)


def _lag(side: Side) -> str:
    seconds = side.mean_lag()
    return "-" if seconds is None else f"{seconds:.1f} s"


def svg_of(frame: DemoFrame) -> str:
    """Return a picture of a frame."""
    console = Console(
        file=io.StringIO(),
        record=True,
        force_terminal=True,
        width=MOST_COLUMNS,
        height=PICTURE_LINES,
        markup=False,
        highlight=False,
        emoji=False,
    )
    console.print(frame)
    return console.export_svg(
        title="ideogram-async demo", theme=MONOKAI, code_format=SVG, unique_id="demo"
    )

"""What a live display shows: a bar for each open request while they are few, and one for all.

Each line is cut rather than broken, at any width.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ideogram_async import SamplingRequest
from ideogram_async.cli._console import shortened

MOST_BARS = 50
"""Requests that may have a bar each; beyond, their changes are not even asked for."""
MOST_COLUMNS = 79
"""Columns: a terminal that is made narrower then seldom breaks a line that stands there."""
NARROW_COLUMNS = 60
"""Columns that are too few for whole ids and for prompts."""
FEW_LINES = 6
"""Lines that are too few for a heading."""
SPARE_LINES = 2
"""Lines of a terminal that are left free: the prompt that was typed, and the cursor's."""
DONE = 100.0
ALMOST_DONE = 99.0
"""Percent at which some gateways stay for a minute (seen)."""


class RequestBars:
    """A bar for each open request."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._open: dict[str, SamplingRequest | None] = dict.fromkeys(ids)
        self._highest: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._open)

    def update(self, request: SamplingRequest) -> None:
        """Record a request's state, if it has a bar. A bar never goes back."""
        request_id = request.request_id or ""
        if request_id in self._open:
            self._open[request_id] = request
            highest = self._highest.get(request_id, 0.0)
            self._highest[request_id] = max(highest, _percentage(request) or 0.0)

    def remove(self, request_id: str | None) -> None:
        """Remove the bar of a request that has ended."""
        self._open.pop(request_id or "", None)

    def lines(self, room: int, width: int) -> list[RenderableType]:
        """Return what fits into so many lines: a heading, bars, and the number of the others."""
        if not self._open or room < 1:
            return []
        heading = room > FEW_LINES
        rows, room = [*self._open.items()], room - heading
        if len(rows) > room:  # those that have an answer are shown, and one line counts the others
            asked_first = sorted(range(len(rows)), key=lambda place: rows[place][1] is None)
            rows = [rows[place] for place in sorted(asked_first[: room - 1])]
        hidden = len(self._open) - len(rows)
        more = [one_line(f"and {hidden} more")] if hidden else []
        return [self._table(rows, width, heading=heading), *more] if rows else [*more]

    def _table(
        self, rows: list[tuple[str, SamplingRequest | None]], width: int, *, heading: bool
    ) -> Table:
        narrow = width < NARROW_COLUMNS
        table = _grid(4, last_takes_rest=not narrow)
        if heading:
            names = ("request", "progress", "state", "" if narrow else "prompt")
            table.add_row(*(Text(name, "dim") for name in names))
        for request_id, request in rows:
            prompt = "" if narrow or request is None else request.user_prompt or ""
            completed = self._highest.get(request_id, 0.0)
            table.add_row(
                Text(shortened(request_id, 6 if narrow else 22), "cyan"),
                _bar(completed, DONE, 4 if narrow else 16),
                one_line(_state(request, completed)),
                one_line(shortened(prompt, 40)),
            )
        return table


class Total(NamedTuple):
    """One bar for all: how many have ended, of how many, and in which words."""

    ended: int
    total: int
    words: str

    def line(self, width: int) -> Table:
        """Return its line."""
        table = _grid(2)
        room = max(min(39, width - len(self.words) - 1), 1)
        table.add_row(_bar(self.ended, max(self.total, 1), room), one_line(self.words))
        return table


class Frame:
    """What is shown at one time: bars of requests, bars of totals, and lines of text."""

    def __init__(self, bars: RequestBars) -> None:
        self._bars = bars
        self._totals: Sequence[Total] = ()
        self._texts: Sequence[str] = ()

    def show(self, totals: Sequence[Total], texts: Sequence[str]) -> None:
        """Show these below the bars of requests from now on."""
        self._totals, self._texts = totals, texts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        width = min(options.max_width, MOST_COLUMNS)
        below = [total.line(width) for total in self._totals] + [*map(one_line, self._texts)]
        room = max(console.height - len(below) - SPARE_LINES, 1)
        yield Constrain(Group(*self._bars.lines(room, width), *below), width)


def _bar(completed: float, total: float, width: int) -> ProgressBar:
    return ProgressBar(
        total=total,
        completed=completed,
        width=width,
        complete_style="cyan",
        finished_style="green",
    )


def _percentage(request: SamplingRequest) -> float | None:
    """Return how far it is; None where that is not known, or while it waits.

    While it waits some gateways show an estimate that falls when the work starts (seen).
    """
    told = request.completion_percentage
    if told is None or request.has_started is False:
        return None
    return min(max(float(told), 0.0), DONE)


def _state(request: SamplingRequest | None, completed: float) -> str:
    if request is None:
        return "not asked yet"
    percentage = _percentage(request)
    if percentage is None:
        return "running" if request.has_started else "queued"
    if percentage >= ALMOST_DONE:
        return f"{percentage:.0f} %, finishing"
    return f"{max(percentage, completed):.0f} %"


def _grid(columns: int, *, last_takes_rest: bool = False) -> Table:
    table = Table.grid(padding=(0, 1), expand=last_takes_rest)
    for column in range(1, columns + 1):
        ratio = 1 if last_takes_rest and column == columns else None
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=ratio)
    return table


def one_line(text: str) -> Text:
    """Return a text that is cut where the line ends."""
    return Text(text, no_wrap=True, overflow="ellipsis")

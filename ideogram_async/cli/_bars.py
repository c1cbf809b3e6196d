"""What a live display shows: a bar for each open request while they are few, and one for all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.constrain import Constrain
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from ideogram_async.cli._console import shortened

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, ConsoleOptions, RenderResult

    from ideogram_async import SamplingRequest

FEW = 50
"""Requests that may have a bar each; beyond, their changes are not even asked for."""
WIDEST = 79
"""Columns: a terminal that is made narrower then seldom breaks a line that stands there."""
NARROW = 60
"""Columns that are too few for whole ids and for prompts."""
BESIDE = 6
"""Lines of a terminal that bars leave free."""
DONE = 100.0


class Bars:
    """The lines of one frame; each is cut rather than broken, at any width."""

    def __init__(self, ids: Iterable[str]) -> None:
        self.ended = 0
        self.total = 0
        self.figures = ""
        self._open: dict[str, SamplingRequest | None] = dict.fromkeys(ids)

    @property
    def has_requests(self) -> bool:
        """Whether any request has a bar of its own."""
        return bool(self._open)

    def note(self, request: SamplingRequest) -> None:
        """Take a request's state, where it has a bar."""
        if request.request_id in self._open:
            self._open[request.request_id] = request

    def drop(self, request_id: str | None) -> None:
        """Take away the bar of a request that has ended."""
        self._open.pop(request_id or "", None)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        room = max(console.height - BESIDE, 1)
        width = min(options.max_width, WIDEST)
        rows = [*self._open.items()][:room]
        lines: list[Table | Text] = [self._requests(rows, width)] if rows else []
        hidden = len(self._open) - len(rows)
        if hidden:
            lines.append(_line(f"and {hidden} more"))
        yield Constrain(Group(*lines, self._overall(width), _line(self.figures)), width)

    def _requests(self, rows: list[tuple[str, SamplingRequest | None]], width: int) -> Table:
        table = _grid(4)
        narrow = width < NARROW
        for request_id, request in rows:
            percentage = _percentage(request)
            prompt = "" if narrow or request is None else request.user_prompt or ""
            table.add_row(
                Text(shortened(request_id, 6 if narrow else 22), "cyan"),
                ProgressBar(total=DONE, completed=percentage or 0.0, width=4 if narrow else 16),
                _line(_state(request, percentage)),
                _line(shortened(prompt, 40)),
            )
        return table

    def _overall(self, width: int) -> Table:
        table, told = _grid(2), f"{self.ended:,} of {self.total:,}"
        table.add_row(
            ProgressBar(
                total=max(self.total, 1),
                completed=self.ended,
                width=max(min(39, width - len(told) - 1), 1),
            ),
            _line(told),
        )
        return table


def _percentage(request: SamplingRequest | None) -> float | None:
    told = None if request is None else request.completion_percentage
    return None if told is None else min(max(float(told), 0.0), DONE)


def _state(request: SamplingRequest | None, percentage: float | None) -> str:
    if request is None:
        return "…"
    if percentage is None:
        return "running" if request.has_started else "queued"
    return f"{percentage:.0f} %"


def _grid(columns: int) -> Table:
    table = Table.grid(padding=(0, 1))
    for _ in range(columns):
        table.add_column(no_wrap=True, overflow="ellipsis")
    return table


def _line(text: str) -> Text:
    return Text(text, no_wrap=True, overflow="ellipsis")

"""How far a run is, while it goes on."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Self

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from ideogram_async import IdeogramClient, Run
    from ideogram_async.cli._terminal import Screen

FRAME = 0.2
"""Seconds between two looks at the figures, for a bar."""


class Meter:
    """A live bar on a terminal; elsewhere a line each `every` seconds, or nothing.

    It is drawn from the loop: rich's own thread would outlast a second Ctrl-C.
    """

    def __init__(
        self, screen: Screen, client: IdeogramClient, run: Run[Any], *, every: float | None = None
    ) -> None:
        self.screen = screen
        self._client = client
        self._run = run
        self._bar = _bar(screen) if screen.is_interactive else None
        self._every = every if self._bar is None else FRAME
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._draw(self._bar)
        self._wind()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.hide()

    def hide(self) -> None:
        """Take the bar away until the next frame, so that something else can be written."""
        if self._bar is not None:
            self._bar.stop()

    def describe(self) -> str:
        """Give the figures in words."""
        figures = self._run.statistics()
        told = f"{figures.completed} of {figures.taken} complete"
        if figures.failed:
            told += f", {figures.failed} failed"
        return f"{told}, {self._client.statistics().queries} queries"

    def _wind(self) -> None:
        if self._every is not None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._tick)

    def _tick(self) -> None:
        if self._bar is None:
            self.screen.say(self.describe())
        else:
            self._draw(self._bar)
        self._wind()

    def _draw(self, bar: Progress) -> None:
        figures = self._run.statistics()
        (task,) = bar.task_ids
        ended = figures.completed + figures.failed
        bar.update(task, completed=ended, total=figures.taken, description=self.describe())
        bar.start()
        bar.refresh()


def _bar(screen: Screen) -> Progress:
    bar = Progress(
        BarColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        console=screen,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=sys.stderr.isatty(),
    )
    bar.add_task("", total=None)
    return bar

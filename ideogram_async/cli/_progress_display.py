"""How far a run is, while it goes on."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Any, Self

from rich.live import Live

from ideogram_async.cli._bars import Bars
from ideogram_async.cli._rate_estimate import RateEstimate, left_in_words, rate_in_words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ideogram_async import IdeogramClient, Run, SamplingRequest
    from ideogram_async.cli._console import Console
    from ideogram_async.cli._shards import Figures

FRAME = 0.2
"""Seconds between two frames, where requests have bars."""
CALM = 0.5
"""The same where one bar is for all."""


class ProgressDisplay:
    """Live bars on a terminal; elsewhere a line each `every` seconds, or nothing.

    They are drawn from the loop: rich's own thread would outlast a second Ctrl-C.
    """

    def __init__(
        self,
        console: Console,
        client: IdeogramClient | Figures,
        run: Run[Any],
        *,
        every: float | None = None,
        each: Iterable[str] = (),
        total: int | None = None,
        done: str = "complete",
        more: Callable[[], str] | None = None,
    ) -> None:
        """Set it up.

        Args:
            console: Where it is shown.
            client: Whose queries are counted.
            run: Whose requests are counted.
            every: Seconds between two lines, where there is no terminal.
            each: The ids that have a bar of their own.
            done: What is said of a request that has ended well.
            total: How many there will be, where that is known.
            more: Gives more figures in words.

        """
        self.console = console
        self._client = client
        self._run = run
        self._more = more
        self._total = total
        self._done = done
        self._rate = RateEstimate()
        self._bars = Bars(each)
        frame = FRAME if self._bars.has_requests else CALM
        self._live = _live(console, self._bars) if console.is_interactive else None
        self._every = every if self._live is None else frame
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._draw(self._live)
        self._wind()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.hide()

    def hide(self) -> None:
        """Take the bars away until the next frame, so that something else can be written."""
        if self._live is not None:
            self._live.stop()

    def say(self, *parts: str | tuple[str, str]) -> None:
        """Print a line above the bars."""
        self.console.say(*parts)

    def note(self, request: SamplingRequest) -> None:
        """Take a request's state for its bar."""
        self._bars.note(request)

    def ended(self, request_id: str | None) -> None:
        """Take its bar away."""
        self._bars.drop(request_id)

    def describe(self) -> str:
        """Return the figures in words."""
        figures = self._run.statistics()
        told = f"{figures.completed} of {figures.taken} {self._done}"
        if figures.failed:
            told += f", {figures.failed} failed"
        told += f", {self._client.statistics().queries} queries"
        return told + (self._more() if self._more else "")

    def _wind(self) -> None:
        if self._every is not None:
            self._timer = asyncio.get_running_loop().call_later(self._every, self._tick)

    def _tick(self) -> None:
        if self._live is None:
            self.console.say(self.describe() + self._outlook())
        else:
            self._draw(self._live)
        self._wind()

    def _draw(self, live: Live) -> None:
        figures = self._run.statistics()
        self._bars.ended = figures.completed + figures.failed
        self._bars.total = self._total or figures.taken
        self._bars.figures = self._figures()
        live.start()
        live.refresh()

    def _figures(self) -> str:
        """Return the line below the bar of all: the figures that the bar does not show."""
        figures, queries = self._run.statistics(), self._client.statistics().queries
        told = f"{queries / max(figures.completed, 1):.1f} queries a request"
        if not figures.completed:
            told = f"{queries} queries"
        if figures.failed:
            told = f"{figures.failed} failed, {told}"
        return told + self._outlook() + (self._more() if self._more else "")

    def _outlook(self) -> str:
        """Return the rate and the time left, as far as they are known."""
        figures = self._run.statistics()
        now, ended = asyncio.get_running_loop().time(), figures.completed + figures.failed
        rate = self._rate.look(now, ended)
        if rate is None:
            return ""
        told = f", {rate_in_words(rate)}"
        if self._total is not None and self._total > ended:
            told += f", {left_in_words((self._total - ended) / rate)}"
        return told


def _live(console: Console, bars: Bars) -> Live:
    return Live(
        bars,
        console=console,
        auto_refresh=False,
        transient=True,
        redirect_stdout=False,
        redirect_stderr=sys.stderr.isatty(),
        vertical_overflow="crop",
    )

"""How far a run is, and what it waits for, while it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Self

from rich.live import Live

from ideogram_async import Run, Statistics
from ideogram_async.cli._bars import Frame, RequestBars, Total
from ideogram_async.cli._console import Console, counted
from ideogram_async.cli._gateway_words import NOT_THROTTLED, TroubleLines, trouble_in_words
from ideogram_async.cli._image_saver import ImageSaver
from ideogram_async.cli._rate_estimate import (
    RateEstimate,
    elapsed_in_words,
    left_in_words,
    rate_in_words,
)
from ideogram_async.cli._request_states import RequestStates

FRAME_SECONDS = 0.2
"""Between two frames, where requests have bars."""
CALM_FRAME_SECONDS = 0.5
"""The same where one bar is for all."""
LOOK_SECONDS = 1.0
"""Between two looks at the state, where there is no terminal for bars."""
PROGRESS_SECONDS = 10.0
"""Between two lines on progress there."""


class ProgressDisplay:
    """Live bars on a terminal; elsewhere a line at each change of state, and now and then one more.

    They are drawn from the loop: rich's own thread would outlast a second Ctrl-C.

    - `done`: what is said of a request that has ended well.
    - `ids_with_bars`: the ids that have a bar of their own.
    - `total`: how many requests there are, if that is known.
    - `known`: how many of the ids that were given the file of results held.
    """

    def __init__(
        self,
        console: Console,
        statistics: Callable[[], Statistics],
        run: Run[Any],
        *,
        base_url: str,
        done: str = "complete",
        ids_with_bars: Sequence[str] = (),
        total: int | None = None,
        known: int = 0,
        states: RequestStates | None = None,
        saver: ImageSaver | None = None,
    ) -> None:
        self.bars = RequestBars(ids_with_bars)
        self.console = console
        self._statistics = statistics
        self._run = run
        self._base_url = base_url
        self._done = done
        self._given_total = total
        self._known = known
        self._states = states
        self._saver = saver
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._ends, self._queries = RateEstimate(), RateEstimate()
        self._trouble = TroubleLines()
        self._frame = Frame(self.bars)
        self._live = console.live(self._frame)
        self._printed_at = self._began

    def __enter__(self) -> Self:
        if self._live is not None:
            self._draw(self._live)
        self._wind()
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self.hide()

    def hide(self) -> None:
        """Remove the bars until the next frame, so that something else can be written."""
        if self._live is not None:
            self._live.stop()

    def summary(self) -> str:
        """Return the figures in words: what has ended, what failed, and what it cost."""
        figures, saver = self._run.statistics(), self._saver
        parts = [f"{figures.completed:,} of {self._total():,} {self._done}{self._in_file()}"]
        if figures.failed:
            parts.append(f"{figures.failed:,} failed")
        parts.append(counted(self._statistics().queries, "query", "queries"))
        if saver is not None:
            parts.append(saver.describe())
        return ", ".join([*parts, f"in {elapsed_in_words(self._loop.time() - self._began)}"])

    def _total(self) -> int:
        total = self._given_total
        return self._run.statistics().taken if total is None else total

    def _in_file(self) -> str:
        verb = "was" if self._known == 1 else "were"
        return f" ({self._known:,} {verb} in the file)" if self._known else ""

    def _wind(self) -> None:
        seconds = LOOK_SECONDS
        if self._live is not None:
            seconds = FRAME_SECONDS if len(self.bars) else CALM_FRAME_SECONDS
        self._timer = self._loop.call_later(seconds, self._tick)

    def _tick(self) -> None:
        now, figures = self._loop.time(), self._statistics()
        why, when = trouble_in_words(self._base_url, figures)
        line = self._trouble.next_line(now, why, when)
        is_back = not why and line != NOT_THROTTLED  # the bars show why it waits, and not the end
        if line and (self._live is None or is_back):
            self.console.say(line)
        if self._live is not None:
            self._draw(self._live)
        elif now - self._printed_at >= PROGRESS_SECONDS:
            self._printed_at = now
            self.console.say(", ".join([self.summary(), *self._outlook()]))
        self._wind()

    def _draw(self, live: Live) -> None:
        figures, saver = self._run.statistics(), self._saver
        ended, total = figures.completed + figures.failed, self._total()
        totals = [Total(ended, total, f"{ended:,} of {total:,}{self._in_file()}")]
        if saver is not None and saver.expected:
            words = f"{saver.saved:,} of {counted(saver.expected, 'image', 'images')}"
            totals.append(Total(saver.saved, saver.expected, words))
        self._frame.show(totals, self._texts())
        live.start()
        live.refresh()

    def _texts(self) -> list[str]:
        """Return the lines below the bars: what goes on, what it costs, and what it waits for."""
        figures, queries = self._run.statistics(), self._statistics().queries
        now = self._loop.time()
        going = [elapsed_in_words(now - self._began)]
        if self._states is not None:
            going.append(self._states.describe(figures.pending))
        costs = [counted(queries, "query", "queries")]
        rate = self._queries.look(now, queries)
        if rate is not None:
            costs.append(rate_in_words(rate, "query", "queries"))
        if figures.failed:
            costs.append(f"{figures.failed:,} failed")
        texts = [", ".join([*going, *self._outlook()]), ", ".join(costs)]
        why, when = trouble_in_words(self._base_url, self._statistics())
        return [*texts, why + when] if why else texts

    def _outlook(self) -> list[str]:
        """Return the rate at which requests end and the time left, as far as they are known."""
        figures = self._run.statistics()
        ended, total = figures.completed + figures.failed, self._given_total
        rate = self._ends.look(self._loop.time(), ended)
        if rate is None:
            return []
        words = [rate_in_words(rate, "request", "requests")]
        if total is not None and total > ended:
            words.append(left_in_words((total - ended) / rate))
        return words

"""A schedule under which more ids are always due than can be asked."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ideogram_async import AdaptiveSchedule

if TYPE_CHECKING:
    from ideogram_async import Observation
    from ideogram_async._schedules.request_state import JobState


class BusySchedule(AdaptiveSchedule):
    """Makes the default schedule's decision, and then a random delay below `sweep` seconds.

    A sweep that is shorter than the time to ask all ids once keeps the client busy at any number of
    ids. So the cost of a poll holds no cost of waking up for it.
    """

    def __init__(self, sweep: float) -> None:
        super().__init__()
        self._sweep = sweep
        self._draw = random.Random(1).random

    def next_delay(self, state: JobState, seen: Observation) -> float:
        """Return a random delay, after the default's decision."""
        super().next_delay(state, seen)
        return self._draw() * self._sweep

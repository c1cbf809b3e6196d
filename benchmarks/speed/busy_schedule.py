"""A schedule under which more is always due than can be asked, every decision made all the same."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from ideogram_async import AdaptiveSchedule

if TYPE_CHECKING:
    from ideogram_async import Observation
    from ideogram_async._schedules.adaptive import JobState


class Restless(AdaptiveSchedule):
    """Decides as the default does, then asks again within `sweep` seconds, at random.

    A sweep shorter than what it takes to ask all ids once keeps the client busy at any number of
    them, so that a poll's cost is told alone, without that of waking up for it.
    """

    def __init__(self, sweep: float) -> None:
        super().__init__()
        self._sweep = sweep
        self._draw = random.Random(1).random

    def next_delay(self, state: JobState, seen: Observation) -> float:
        """Decide, and come back soon."""
        super().next_delay(state, seen)
        return self._draw() * self._sweep

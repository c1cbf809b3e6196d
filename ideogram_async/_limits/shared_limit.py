"""Whether keys share one limit, so that what one is told holds for all of them."""

from __future__ import annotations

import math

TOGETHER = 1.0
"""Seconds within which the refusals of two sessions are one event."""
COINCIDENCES = 2
"""Refusals together, more than alone, after which the limit is taken for a common one."""
ALONE = 6
"""Refusals in a row of one session alone, after which it is taken for its own."""


class SharedLimitDetector:
    """Learns from when the sessions are refused: together, time and again, or each alone."""

    def __init__(self) -> None:
        self.shared = False
        self._score = 0
        self._last_index = -1
        self._last_at = -math.inf
        self._counted = False
        self._row = 0

    def refused(self, index: int, now: float) -> None:
        """Record that a session was refused for the first time since its last cut."""
        other = index != self._last_index
        together = now - self._last_at <= TOGETHER
        self._row = 1 if other else self._row + 1
        self._last_index, self._last_at = index, now
        if self.shared:
            self.shared = self._row < ALONE
            self._score = 0
        elif not together:  # alone, until another one is refused, too
            self._score = max(self._score - 1, -COINCIDENCES)
            self._counted = False
        elif other and not self._counted:
            self._score += 2
            self._counted = True
            self.shared = self._score >= COINCIDENCES

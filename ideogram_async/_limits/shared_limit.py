"""Whether keys share one limit, so that what one is told holds for all of them."""

from __future__ import annotations

import math

TOGETHER_SECONDS = 0.3
"""Seconds within which the refusals of two sessions are one event. Of five keys whose own limits
refuse each of them every 20 s, 6 % are together by chance; within 1 s it would be 18 %."""
COMMON_SCORE = 3
"""The score from which the limit is taken for a common one: 2 for each refusal together, less 1 for
each alone. One coincidence must not be enough."""
REFUSALS_ALONE = 6
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
        together = now - self._last_at <= TOGETHER_SECONDS
        self._row = 1 if other else self._row + 1
        self._last_index, self._last_at = index, now
        if self.shared:
            self.shared = self._row < REFUSALS_ALONE
            self._score = 0
        elif not together:  # alone, until another one is refused, too
            self._score = max(self._score - 1, -COMMON_SCORE)
            self._counted = False
        elif other and not self._counted:
            self._score += 2
            self._counted = True
            self.shared = self._score >= COMMON_SCORE

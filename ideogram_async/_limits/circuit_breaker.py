"""The breaker of one session: while its gateway is down, a probe now and then is all it gets."""

from __future__ import annotations

import math
import random

ROW = 5
ROW_SECONDS = 1.0
"""Failures in a row that open it, if they were sent over so many seconds: a reload fails many."""
SHARE_LEAST = 20
SPAN = 10.0
"""It opens, too, when half of at least 20 outcomes within 10 s are failures."""
FIRST = 5.0
LONGEST = 60.0
"""Seconds that it stays open, doubled as long as its probe fails."""


class CircuitBreaker:
    """Opens on failures that concern the gateway as a whole; one probe closes it."""

    def __init__(self) -> None:
        self.open_until: float = -math.inf
        """Until when nothing goes out; the next query is a probe."""
        self.probing: bool = False
        self._delay = FIRST
        self._row = 0
        self._row_began = 0.0
        self._opened_at = -math.inf
        self._span_ends = -math.inf
        self._outcomes = self._failures = 0
        self._former_outcomes = self._former_failures = 0

    def succeeded(self, asked: float, now: float) -> bool:
        """Note an answer; tell whether it closed the breaker."""
        self._row = 0
        self._count(now)
        if not self.probing or asked < self._opened_at:
            return False
        self.probing = False
        self._delay = FIRST
        self._forget()
        return True

    def failed(self, asked: float, now: float) -> None:
        """Note a failure: of the connection, of a gateway's 5xx."""
        if self.probing:
            if asked >= self._opened_at:
                self._delay = min(2 * self._delay, LONGEST)
                self._open(now)
            return
        self._row_began = asked if not self._row else min(asked, self._row_began)
        self._row += 1
        self._count(now)
        self._failures += 1
        if self._is_row(asked) or self._is_share():
            self._open(now)

    def _is_row(self, asked: float) -> bool:
        return self._row >= ROW and asked - self._row_began >= ROW_SECONDS

    def _is_share(self) -> bool:
        outcomes = self._outcomes + self._former_outcomes
        return outcomes >= SHARE_LEAST and 2 * (self._failures + self._former_failures) >= outcomes

    def _open(self, now: float) -> None:
        # Jittered, so that the clients of one gateway do not probe as a herd.
        self.open_until = now + self._delay * random.uniform(1.0, 1.1)  # noqa: S311 - no secret
        self._opened_at = now
        self.probing = True

    def _count(self, now: float) -> None:
        """Count an outcome in the running half of the span; the former half still counts."""
        if now >= self._span_ends:
            fresh = now >= self._span_ends + SPAN / 2
            self._former_outcomes = 0 if fresh else self._outcomes
            self._former_failures = 0 if fresh else self._failures
            self._outcomes = self._failures = 0
            self._span_ends = now + SPAN / 2
        self._outcomes += 1

    def _forget(self) -> None:
        self._outcomes = self._failures = self._former_outcomes = self._former_failures = 0

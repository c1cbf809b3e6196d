"""The circuit breaker of one session: while the gateway is down, only probes are sent.

It counts what is charged to the gateway as a whole, and nothing else.
"""

from __future__ import annotations

import math
import random

CONSECUTIVE_FAILURES = 5
CONSECUTIVE_SECONDS = 1.0
"""Failures in a row that open it, if they were sent over so many seconds: at one reload of a web
server a whole flight fails within less."""
FIRST_OPEN_SECONDS = 5.0
LONGEST_OPEN_SECONDS = 60.0
"""Seconds that it stays open, doubled each time that a probe fails."""
NEWCOMER_SECONDS = 0.2
NEWCOMER_PROBES = 60
"""An id that was never asked may be a probe of its own, so soon after the last such one. Only so
many: where all ids fail that were asked, a sound one among the others shows that it is not the
gateway."""
LATER_NEWCOMER_SECONDS = 5.0
"""Seconds between two such probes after that: an id that was just handed in is tried at once. One
for which no connection was made was never asked: a gateway that is back is seen as soon."""
PROBES_OF_AN_OUTAGE = 3
OUTAGE_SECONDS = 15.0
"""Failed probes in a row, over so many seconds, after which a call that asks once is told."""


class NewcomerProbes:
    """When an id that was never asked may be a probe of its own, beside the others."""

    def __init__(self) -> None:
        self.next_at: float = math.inf
        """inf while none may be sent."""
        self._sent = 0

    def begin(self, now: float, sent: int = 0) -> None:
        """Let the first be sent now; of those that may follow soon, so many count as sent."""
        self.next_at, self._sent = now, sent

    def sent(self, now: float) -> None:
        """Record that one is sent."""
        self._sent += 1
        is_many = self._sent >= NEWCOMER_PROBES
        self.next_at = now + (LATER_NEWCOMER_SECONDS if is_many else NEWCOMER_SECONDS)

    def end(self) -> None:
        """Let no more be sent."""
        self.next_at = math.inf


class CircuitBreaker:
    """Opens on failures that concern the gateway as a whole; an answer to a probe closes it."""

    def __init__(self) -> None:
        self.open_until: float = -math.inf
        """When the next probe may be sent."""
        self.newcomers: NewcomerProbes = NewcomerProbes()
        self.probing: bool = False
        """Whether it is open: only probes are sent."""
        self._delay = FIRST_OPEN_SECONDS
        self._row = 0
        self._row_began = 0.0
        self._opened_at = -math.inf
        self._failed_probes = 0
        self._first_probe_at = math.inf

    def succeeded(self, asked: float) -> bool:
        """Record an answer; return whether it closed the breaker."""
        self._row = 0
        if not self.probing or asked < self._opened_at:
            return False
        self.probing = False
        self.newcomers.end()
        self.open_until = -math.inf  # a newcomer's answer may come before the next probe's time
        self._delay = FIRST_OPEN_SECONDS
        return True

    def failed(
        self, asked: float, now: float, *, is_row: bool, is_probe: bool, is_doubtful: bool = False
    ) -> None:
        """Record a failure; `is_row`: it stands for many in a row.

        1. Closed: it may open.
        2. Open, and the query was sent before that: nothing new.
        3. A probe failed: the next one is later, each time, unless the address is in doubt.
        4. An id that was never asked failed beside the probes: the next of these has its time.
        """
        if self.probing:
            if asked >= self._opened_at:
                self._failed_probes += 1
                self._first_probe_at = min(self._first_probe_at, now)
                if is_probe:
                    if not is_doubtful:
                        self._delay = min(2 * self._delay, LONGEST_OPEN_SECONDS)
                    self._open(now)
            return
        self._row_began = asked if not self._row else min(asked, self._row_began)
        self._row += 1
        is_long = asked - self._row_began >= CONSECUTIVE_SECONDS
        if is_row or (self._row >= CONSECUTIVE_FAILURES and is_long):
            self.probing = True
            self.newcomers.begin(now, 0 if is_row else NEWCOMER_PROBES)
            self._failed_probes = 0
            self._first_probe_at = math.inf
            self._open(now)

    def is_outage(self, now: float) -> bool:
        """Return whether probes have failed for so long that a call that asks once may end."""
        lasting = now - self._first_probe_at >= OUTAGE_SECONDS
        return self.probing and self._failed_probes >= PROBES_OF_AN_OUTAGE and lasting

    def _open(self, now: float) -> None:
        # Jittered, so that the clients of one gateway do not probe as a herd.
        self.open_until = now + self._delay * random.uniform(1.0, 1.1)  # noqa: S311 - no secret
        self._opened_at = now

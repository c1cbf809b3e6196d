"""The pace of one session: a gentle start, and the limit that refusals show.

Nobody tells where a gateway's limit is. What was accepted over one whole stretch, a refusal and
the pause after it included, tells its rate, be it a window or a bucket.
"""

from __future__ import annotations

import math
import random

from ideogram_async._limits.chance import ChanceDetector

GENTLE_RATE = 20.0
GENTLE_SPAN = 10.0
"""What the schedule sends starts at 20 queries a second, or at all pending ids in 10 s …"""
GENTLE_GROWTH = 0.02
GENTLE_GROWTH_SPAN = 7.0
"""… and grows by 0.02 · (1 + t / 7 s) a second, t since its start, while a due query waits."""
GROWTH = 0.005
GROWTH_SPAN = 3.0
"""After a cut the rate grows by 0.005 · (1 + t / 3 s) a second, t since then, while one waits."""
MADE_UP = 0.25
"""Seconds of the pace that may be made up after a late query."""
KEPT = 0.95
"""The part of the accepted rate that is kept at a cut."""
BLIND_CUT = 0.7
"""The cut where too little was accepted to measure a rate: fewer than 5 in under 1 s."""
FLOOR = 0.2
"""Queries a second that always remain."""
PAUSE = 0.25
PAUSE_CAP = 60.0
"""Seconds that a session holds at a refusal, doubled as long as its probe is refused."""
MEASURED = 5.0
"""Seconds that are measured while refusals are bad luck: the rate may have grown much before."""
IDLE = 10.0
"""Seconds without a query after which what was accepted before tells nothing of the limit."""

LUCKY_GROWTH = 0.0025
LUCKY_GROWTH_MOST = 0.05
"""Growth a query while refusals are bad luck, and its most a second."""


class RateLimiter:
    """When one session may send, by what the gateway has accepted and refused."""

    def __init__(self, *, gentle: bool) -> None:
        self.rate: float = GENTLE_RATE if gentle else math.inf
        self.limited: bool = False
        """Whether a refusal has shown that there is a limit."""
        self.next_at: float = -math.inf
        """When the pace allows the next query."""
        self.held_until: float = -math.inf
        """Until when nothing goes out."""
        self.probing: bool = False
        """Whether one query alone may find out if the gateway accepts again."""
        self._pause = PAUSE
        self._cut_at = -math.inf
        self._since = math.inf
        self._grown_from = -math.inf
        self._accepted_before = 0
        self.luck: ChanceDetector = ChanceDetector()
        """What tells a limit from bad luck."""
        self._last_sent = -math.inf
        self._waited = False

    def start_at(self, pending: float) -> None:
        """Start no lower than all pending ids in 10 s, as long as no limit has shown."""
        if not self.limited:
            self.rate = max(self.rate, pending / GENTLE_SPAN)

    def release(self, now: float) -> None:
        """End a hold."""
        self.held_until = min(self.held_until, now)

    def is_shared(self, run: float) -> None:
        """Set how many accepted queries make a refusal chance; inf for never."""
        self.luck.run = run

    def wait(self) -> None:
        """Note that a due query waits for the pace: the rate may grow."""
        self._waited = True

    def sent(self, now: float, *, paced: bool) -> None:
        """Note a query."""
        if now - self._last_sent > IDLE and not self.probing:
            self._measure(now)
            if not self.limited:
                self._grown_from = now
        if paced and self.rate < math.inf:
            if self._waited and not self.probing:
                self._grow(now)
            self.next_at = max(self.next_at, now - MADE_UP) + 1 / self.rate
        self._waited = False
        self._last_sent = now

    def accepted(self, asked: float, now: float) -> None:
        """Note a query that was let through: a probe's tells the rate."""
        self.luck.accepted += 1
        if self.probing and asked >= self._cut_at:
            self._cut(now)

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Note a query that was throttled: hold everything, then probe. Tell whether it counts."""
        if self.probing and asked >= self._cut_at:
            self._pause = min(2 * self._pause, PAUSE_CAP)
        elif self.probing or asked < self._cut_at:  # sent before the cut: it tells nothing new
            self.hold(retry_after or 0.0, now)
            return False
        elif self.luck.strikes(self.rate) and retry_after is None:
            self.rate = self.luck.restored(self.rate)
            if now - self._since > MEASURED:
                self._measure(now)
            return False
        self._cut_at = now
        self.probing = True
        self.hold(max(retry_after or 0.0, self._pause), now)
        return True

    def follow(self, until: float, now: float) -> None:
        """Hold and cut for a refusal that another session of the same limit has had."""
        if not self.probing and now > self._since:
            self._cut(now)
        self.held_until = max(self.held_until, until)

    def hold(self, seconds: float, now: float) -> None:
        """Send nothing for so long."""
        # Jittered, so that the clients of one gateway do not wake as a herd.
        jitter = random.uniform(1.0, 1.1)  # noqa: S311 - no secret
        self.held_until = max(self.held_until, now + seconds * jitter)

    def _measure(self, now: float) -> None:
        """Measure the accepted rate from here on."""
        self._since, self._accepted_before = now, self.luck.accepted

    def _cut(self, now: float) -> None:
        elapsed = now - self._since
        accepted = self.luck.accepted - self._accepted_before
        if accepted < 5 and elapsed < 1:  # noqa: PLR2004 - the rule's own numbers
            rate = BLIND_CUT * min(self.rate, 1e6)
        else:
            rate = KEPT * accepted / max(elapsed, 1e-3)
        before, self.rate = self.rate, max(min(self.rate, rate), FLOOR)
        self.limited, self.probing = True, False
        self._pause = PAUSE
        self._measure(now)
        self._grown_from = now
        self.next_at = now + 1 / self.rate
        self.luck.cut(before, self.rate)

    def _grow(self, now: float) -> None:
        seconds = min(now - self._last_sent, 1.0)
        first, span = (GROWTH, GROWTH_SPAN) if self.limited else (GENTLE_GROWTH, GENTLE_GROWTH_SPAN)
        growth = first * (1 + (now - self._grown_from) / span)
        if self.luck.proven:  # it seems that there is no limit
            growth = max(growth, min(LUCKY_GROWTH_MOST, LUCKY_GROWTH * self.rate))
        self.rate *= 1 + growth * seconds

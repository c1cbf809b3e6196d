"""The pace of one session: a gentle start, and the limit that refusals show.

Nobody tells where a gateway's limit is. What was accepted over one whole stretch, a refusal and
the pause after it included, tells its rate, be it a window or a bucket.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from ideogram_async._limits.chance import ChanceDetector
from ideogram_async._limits.limiter import LimitSource

LUCKY_RUN_OF_MANY = 24
"""Where several keys may share a limit one's refusals are bad luck less soon, and where they do,
never: what it sends itself does not tell how much of the limit is used."""
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

    def __init__(self, *, gentle: bool, keys: int = 1) -> None:
        self.rate: float = GENTLE_RATE if gentle else math.inf
        self.source: LimitSource = "none"
        """Whether a refusal has shown that there is a limit."""
        self.next_at: float = -math.inf
        """When the pace allows the next query."""
        self.held_until: float = -math.inf
        """Until when nothing goes out."""
        self.is_probing: bool = False
        """Whether one query alone may find out if the gateway accepts again."""
        self._keys = keys
        self._pause = PAUSE
        self._cut_at = -math.inf
        self._since = math.inf
        self._grown_from = -math.inf
        self._accepted_before = 0
        self.luck: ChanceDetector = ChanceDetector()
        """What tells a limit from bad luck."""
        if keys > 1:
            self.luck.run = LUCKY_RUN_OF_MANY
        self._last_sent = -math.inf
        self._waited = False

    def opens_at(self, now: float) -> float:  # noqa: ARG002 - the protocol's
        """Return when the pace allows the next query."""
        return max(self.next_at, self.held_until)

    def wait(self, pending: float) -> None:
        """Record that a due query waits for the pace: the rate may grow.

        As long as no limit has shown it starts no lower than all pending ids in 10 s.
        """
        self._waited = True
        if self.source == "none":
            self.rate = max(self.rate, pending / self._keys / GENTLE_SPAN)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: it never opens sooner than it said."""

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Record a query."""
        if now - self._last_sent > IDLE and not self.is_probing:
            self._measure(now)
            if self.source == "none":
                self._grown_from = now
        if paced and self.rate < math.inf:
            if self._waited and not self.is_probing:
                self._grow(now)
            self.next_at = max(self.next_at, now - MADE_UP) + 1 / self.rate
        self._waited = False
        self._last_sent = now

    def accepted(self, asked: float, now: float) -> None:
        """Note a query that was let through: a probe's tells the rate."""
        self.luck.accepted += 1
        if self.is_probing and asked >= self._cut_at:
            self._cut(now)

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Note a query that was throttled: hold everything, then probe. Tell whether it counts."""
        if self.is_probing and asked >= self._cut_at:
            self._pause = min(2 * self._pause, PAUSE_CAP)
        elif self.is_probing or asked < self._cut_at:  # sent before the cut: it tells nothing new
            self._pause_for(retry_after or 0.0, now)
            return False
        elif self.luck.strikes(self.rate) and retry_after is None:
            self.rate = self.luck.restored(self.rate)
            if now - self._since > MEASURED:
                self._measure(now)
            return False
        self._cut_at = now
        self.is_probing = True
        self._pause_for(max(retry_after or 0.0, self._pause), now)
        return True

    def hold(self, until: float, now: float) -> None:
        """Hold and cut for a refusal that another user of the same limit has had."""
        self.luck.run = math.inf
        if not self.is_probing and now > self._since:
            self._cut(now)
        self.held_until = max(self.held_until, until)

    def _pause_for(self, seconds: float, now: float) -> None:
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
        self.source, self.is_probing = "found", False
        self._pause = PAUSE
        self._measure(now)
        self._grown_from = now
        self.next_at = now + 1 / self.rate
        self.luck.cut(before, self.rate)

    def _grow(self, now: float) -> None:
        seconds = min(now - self._last_sent, 1.0)
        first, span = (
            (GENTLE_GROWTH, GENTLE_GROWTH_SPAN) if self.source == "none" else (GROWTH, GROWTH_SPAN)
        )
        growth = first * (1 + (now - self._grown_from) / span)
        if self.luck.proven:  # it seems that there is no limit
            growth = max(growth, min(LUCKY_GROWTH_MOST, LUCKY_GROWTH * self.rate))
        self.rate *= 1 + growth * seconds

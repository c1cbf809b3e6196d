"""The session of one key: its health, its pace, and when it may send the next query.

Nothing here reads a clock: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from ideogram_async._errors import IdeogramError
from ideogram_async._limits.circuit_breaker import CircuitBreaker
from ideogram_async._limits.rate_limiter import RateLimiter
from ideogram_async._protocol.outcome import Fault, FaultKind
from ideogram_async._statistics import SessionState, SessionStatistics

REFUSED_FOR = 60.0
"""Seconds after which one query tries a refused key again."""
FIRST_ROOM = 8
"""Queries that a key may have in flight at first: it may be a bad one, or the limit a small one.
Each good answer makes room for one more, so that the flight doubles with each round trip."""
FOLLOWS = 0.25
"""Seconds that sessions of one limit hold longer than the one that probes it."""


class KeySession:
    """One key's state."""

    def __init__(
        self, index: int, *, gentle: bool, changed: Callable[[KeySession, SessionState], None]
    ) -> None:
        self.index = index
        self.state: SessionState = "open"
        """As of its last answer, or of the last change that another session made to it."""
        self.in_flight: int = 0
        self.sent_at: float = -math.inf
        self.queries: int = 0
        self.refused: int = 0
        self.room: int = FIRST_ROOM
        self.refusal: IdeogramError | None = None
        self.refused_at: float = -math.inf
        self.throttle: RateLimiter = RateLimiter(gentle=gentle)
        self.breaker: CircuitBreaker = CircuitBreaker()
        self.closed_until: float = -math.inf
        """Until when it sends nothing; kept ready, for it is looked at before each query."""
        self._retry_at = -math.inf
        self._probe_asked: float | None = None
        self._probing = False
        self._changed = changed

    def opens_at(self, *, immediate: bool) -> float:
        """Tell when it may send the next query; what a caller asked for now knows no pace yet."""
        if self.in_flight >= self.room:
            return math.inf
        if immediate and not self.throttle.limited:
            return self.closed_until
        return max(self.closed_until, self.throttle.next_at)

    def sent(self, now: float, *, immediate: bool) -> None:
        """Note that a query goes out."""
        self.in_flight += 1
        self.sent_at = now
        self.queries += 1
        self.throttle.sent(now, paced=not immediate or self.throttle.limited)
        if self._probing:
            self._probe_asked = now
            self.closed_until = math.inf

    def replayed(self, now: float) -> None:
        """Note that its query went out once more: the pace makes up for it."""
        self.queries += 1
        self.throttle.sent(now, paced=True)

    def answered(self, asked: float, now: float) -> None:
        """Learn from a good answer: of a session that is well it changes nothing but figures."""
        self.room += 1
        self.throttle.accepted(asked, now)
        if self.breaker.succeeded(asked, now):
            self.room = FIRST_ROOM  # many wait for a gateway that has just come back
        if self._probe_asked == asked:
            self._probe_asked = None
        if self._probing or self.state != "open":
            self.refusal = None
            self._settle(now)

    def failed(self, fault: Fault, asked: float, now: float) -> bool:
        """Learn from a fault; tell whether it was a throttle's that holds the session."""
        if self._probe_asked == asked:
            self._probe_asked = None
        held = self._note_fault(fault, asked, now)
        self._settle(now)
        return held

    def follow(self, until: float, now: float) -> None:
        """Hold for another session's refusal, which holds that one so long, and for its probe."""
        self.throttle.follow(until + FOLLOWS, now)
        self._settle(now)

    def retry(self, now: float) -> None:
        """Let one query try a refused key again."""
        self._retry_at = min(self._retry_at, now)
        self._settle(now)

    def statistics(self, now: float) -> SessionStatistics:
        """Give its figures."""
        return SessionStatistics(
            queries=self.queries,
            in_flight=self.in_flight,
            refused=self.refused,
            rate=self.throttle.rate if self.throttle.limited else None,
            state=self._state(now),
            held=max(self.throttle.held_until - now, 0.0),
            reason=self.reason,
        )

    @property
    def reason(self) -> str | None:
        """What the gateway said when it refused the key."""
        return None if self.refusal is None else str(self.refusal.args[0])

    def _note_fault(self, fault: Fault, asked: float, now: float) -> bool:
        kind, wait = fault.kind, fault.error.retry_after
        if kind is FaultKind.TRANSIENT:
            self.breaker.failed(asked, now)
            if wait is not None:
                self.throttle.hold(wait, now)
            return False
        self.breaker.succeeded(asked, now)
        if kind is FaultKind.REFUSED:
            self.refused += 1
            self.refusal = fault.error
            self.refused_at = now
            self._retry_at = now + REFUSED_FOR
        elif kind is FaultKind.THROTTLED:
            self.refused += 1
            return self.throttle.refused(asked, wait, now)
        else:
            self.throttle.accepted(asked, now)
        return False

    def _settle(self, now: float) -> None:
        """Look at its health anew: what goes well changes nothing of it, most of the time."""
        self._close()
        former, self.state = self.state, self._state(now)
        if self.state != former:
            self._changed(self, former)

    def _close(self) -> None:
        self._probing = self.refusal is not None or self.throttle.probing or self.breaker.probing
        if self._probing and self._probe_asked is not None:
            self.closed_until = math.inf
            return
        self.closed_until = max(self.throttle.held_until, self.breaker.open_until)
        if self.refusal is not None:
            self.closed_until = max(self.closed_until, self._retry_at)

    def _state(self, now: float) -> SessionState:
        if self.refusal is not None:
            return "refused"
        if self.breaker.probing:
            return "broken"
        if self.throttle.probing or self.throttle.held_until > now:
            return "throttled"
        return "open"

"""The session of one key: its health, its pace, and when it may send the next query.

It hears of a fault only what `_polling.attribution` has charged to the key or the gateway. Nothing
here reads a clock: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

from ideogram_async._errors import RequestError
from ideogram_async._limiter import Limiter
from ideogram_async._limits.circuit_breaker import CircuitBreaker, NewcomerProbes
from ideogram_async._limits.found_rate import FoundRate
from ideogram_async._limits.told_rate import ToldRate
from ideogram_async._logging import logger
from ideogram_async._protocol.headers import Allowance
from ideogram_async._statistics import SessionState, SessionStatistics

LOG_SECONDS = 5.0
"""Seconds between two lines of the log on first faults."""
REFUSED_SECONDS = 60.0
"""Seconds after which one query tries a refused key again."""
FIRST_ROOM = 8
"""Queries that a key may have in flight at first: it may be a bad one, or the limit a small one.
Each good answer makes room for one more, so that the flight doubles with each round trip. The
clients of a fleet, which know of each other, divide it."""
FOLLOW_SECONDS = 0.25
"""Seconds that sessions of one limit hold longer than the one that probes it."""
REFUSALS_ALONE = 3
REFUSALS_SECONDS = 5.0
"""Refusals of one id, over so many seconds, that decide on a key where there is no other id."""
UNPROVEN_HOLD_SECONDS = 5.0
UNPROVEN_HOLD_ACCEPTED = 3
"""An id that was never answered may hold the key for so long at most, and until so many queries
were accepted: the refusal may be its own."""


@dataclass(slots=True)
class Suspicion:
    """A refusal of the key that may be the id's own: another id checks it with the same key."""

    request_id: str
    error: RequestError
    asked: float
    began: float
    count: int = 1


class KeySession:
    """One key's state."""

    def __init__(
        self,
        index: int,
        limiter: Limiter,
        *,
        changed: Callable[[KeySession, SessionState, float], None],
    ) -> None:
        self.index = index
        self.state: SessionState = "open"
        """As of its last answer, or of the last change that another session made to it."""
        self.in_flight: int = 0
        self.sent_at: float = -math.inf
        self.queries: int = 0
        self.refused: int = 0
        self.room: int = FIRST_ROOM
        self.refusal: RequestError | None = None
        """Why the key is out of use."""
        self.refused_at: float = -math.inf
        self.suspicion: Suspicion | None = None
        self.limiter: Limiter = limiter
        self._found = limiter if isinstance(limiter, FoundRate) else None
        """The limiter, where it can take a cut back, and knows how sure its rate is."""
        self.breaker: CircuitBreaker = CircuitBreaker()
        self.fault: RequestError | None = None
        """The last fault that was charged to the key or the gateway."""
        self.closed_until: float = -math.inf
        """Until when it sends nothing; kept ready, for it is looked at before each query."""
        self.probing: bool = False
        """Whether it sends one query at a time, to find out if it may send more."""
        self._has_worked = False
        self._logged_at = -math.inf
        self._refused_asked = -math.inf
        self._retry_at = -math.inf
        self._probe_asked: float | None = None
        self._unproven_until = -math.inf
        self._unproven_accepted = 0
        self._newcomers = NewcomerProbes()
        """In a hold that ids caused which were never answered: while they alone are refused, it is
        not known to be the rate's."""
        self._changed = changed

    def opens_at(self, now: float, *, immediate: bool) -> float:
        """Return when it may send the next query; an immediate one has no pace yet."""
        if self.in_flight >= self.room:
            return math.inf
        if immediate and self.limiter.source == "none":
            return self.closed_until
        opens_at = self.limiter.opens_at(now)
        if opens_at < self.closed_until:  # looked at for each query: no `max`
            return self.closed_until
        return opens_at

    @property
    def _first_room(self) -> int:
        return max(FIRST_ROOM // int(getattr(self.limiter, "fleet_size", 1)), 1)

    @property
    def newcomer_at(self) -> float:
        """When an id that was never asked may be sent before the next probe; inf for never."""
        if self.refusal or self.suspicion:
            return math.inf
        if self.limiter.is_probing:
            return self._newcomers.next_at
        return max(self.breaker.newcomers.next_at, self.held_until)

    @property
    def held_until(self) -> float:
        """Until when a refusal, or a `Retry-After`, holds it."""
        return max(self.limiter.held_until, self._unproven_until)

    def sent(self, now: float, *, immediate: bool) -> None:
        """Record that a query goes out."""
        self.in_flight += 1
        self.sent_at = now
        self.queries += 1
        self.limiter.sent(now, paced=not immediate or self.limiter.source != "none")
        if self.probing:
            self._probe_asked = now
            self.closed_until = math.inf

    def sent_newcomer(self, now: float) -> None:
        """Record that an id that was never asked goes out beside the probes."""
        self.in_flight += 1
        self.sent_at = now
        self.queries += 1
        self.limiter.sent(now, paced=False)
        (self._newcomers if self.limiter.is_probing else self.breaker.newcomers).sent(now)

    def returned(self) -> None:
        """Record that a query is not in flight any more."""
        self.in_flight -= 1

    def replayed(self, now: float) -> None:
        """Record that its query went out once more: the pace makes up for it."""
        self.queries += 1
        self.limiter.sent(now, paced=True)

    def answered(self, asked: float, now: float) -> None:
        """Record a good answer: of a session that is well it changes nothing but figures."""
        self.room += 1
        self._has_worked = True
        self.fault = None
        self.limiter.accepted(asked, now)
        if self.breaker.succeeded(asked):
            self.room = self._first_room  # many wait for a gateway that has just come back
        if self._unproven_until > now:
            self._unproven_accepted += 1
            if self._unproven_accepted == UNPROVEN_HOLD_ACCEPTED:
                self._unproven_until = now
        if self.probing or self.state != "open":
            self._clear_refusal(asked)
            self._ended(asked, now)

    def announced(self, allowance: Allowance, now: float) -> None:
        """Record what an answer's headers say of the limit, for a limiter that heeds it."""
        announced = getattr(self.limiter, "announced", None)
        if announced is not None:
            announced(*allowance, now)

    def neutral(
        self, asked: float, now: float, *, accepted: bool = False, refused: bool = False
    ) -> None:
        """Record a fault that was charged to its id, or to nobody."""
        self.refused += refused
        if accepted:  # the gateway has read the query: neither its rate nor its health is in doubt
            self.limiter.accepted(asked, now)
            self.breaker.succeeded(asked)
        self._ended(asked, now)

    def failed(
        self, error: RequestError, asked: float, now: float, *, is_row: bool, is_doubtful: bool
    ) -> None:
        """Record a fault that was charged to the gateway."""
        self._blame(error, now)
        is_probe = self._probe_asked == asked
        self.breaker.failed(asked, now, is_row=is_row, is_probe=is_probe, is_doubtful=is_doubtful)
        self._ended(asked, now)

    def throttled(self, error: RequestError, asked: float, now: float, *, is_known: bool) -> bool:
        """Record a refusal that was charged to the rate; return whether it holds the session."""
        self._blame(error, now)
        self.refused += 1
        self.breaker.succeeded(asked)
        is_probe, was_held = self._probe_asked == asked, self.limiter.is_probing
        if was_held and not is_known:
            if is_probe and self._newcomers.next_at == math.inf:
                self._newcomers.begin(now)
            elif not is_probe and self._newcomers.next_at < math.inf:
                self._ended(asked, now)  # sent beside the probes: the hold has its own time
                return False
        wait = error.retry_after
        is_unlimited = self.limiter.source == "none"
        if self._found is not None:
            self._found.doubt()
        holds = self.limiter.refused(asked, wait if is_known else None, now)
        if holds and wait is not None and not is_known:
            until = now + min(wait, UNPROVEN_HOLD_SECONDS) * random.uniform(1.0, 1.1)  # noqa: S311 - no secret
            self._unproven_until = max(self._unproven_until, until)
            self._unproven_accepted = 0
        if holds and is_unlimited:
            # What was accepted so far may be what the limit allows at once.
            self.room = self._first_room
        self._ended(asked, now)
        return holds

    def confirmed(self) -> None:
        """Record that an id is answered whose refusal was charged to the rate: it was the rate."""
        if self._found is not None:
            self._found.confirm()

    def acquitted(self, now: float) -> None:
        """Record that an id's own refusals were charged to the rate."""
        if self._found is not None:
            self._found.withdraw(now)

    def refused_key(
        self, request_id: str, error: RequestError, asked: float, now: float, *, alone: bool
    ) -> bool:
        """Record a refusal of the key; return whether that puts it, or keeps it, out of use.

        1. It is out of use, and the query was sent before that: nothing new.
           It was sent later: another query has tried the key again, in vain.
        2. It is the first refusal: another id will check it. Where there is no other id and the
           key has never worked, it decides.
        3. Another id was refused, too: it is out of use.
        4. The same id was refused again: often enough, where there is no other id, it decides.
        """
        self.refused += 1
        self.breaker.succeeded(asked)
        suspicion = self.suspicion
        if self.refusal is not None:
            is_out = asked >= self.refused_at
        elif suspicion is None:
            self.suspicion = Suspicion(request_id, error, asked, now)
            is_out = alone and not self._has_worked
        elif suspicion.request_id != request_id:
            is_out = True
        else:
            suspicion.count += 1
            lasting = now - suspicion.began >= REFUSALS_SECONDS
            is_out = alone and lasting and suspicion.count >= REFUSALS_ALONE
        if is_out:
            self.suspicion = None
            self.refusal, self.refused_at, self._refused_asked = error, now, asked
            self._retry_at = now + REFUSED_SECONDS
        self._ended(asked, now)
        return is_out

    def follow(self, until: float, now: float) -> None:
        """Hold for another session's refusal, which holds that one so long, and for its probe."""
        self.limiter.hold(until + FOLLOW_SECONDS, now)
        self.update(now)

    def retry(self, now: float) -> None:
        """Let one query try a refused key again."""
        self._retry_at = min(self._retry_at, now)
        self.update(now)

    def statistics(self, now: float, told: ToldRate | None) -> SessionStatistics:
        """Return its figures. A rate that was told counts where none was found."""
        limiter = told if told is not None and self.limiter.source == "none" else self.limiter
        return SessionStatistics(
            queries=self.queries,
            in_flight=self.in_flight,
            refused=self.refused,
            rate=None if limiter.source == "none" else limiter.rate,
            limit_source=limiter.source,
            limit_certain=(
                limiter.is_certain if isinstance(limiter, FoundRate) else limiter.source != "none"
            ),
            state=self._state(now),
            held=max(self.held_until - now, 0.0),
            next_try=self._next_try(now),
            reason=self.reason,
        )

    def _next_try(self, now: float) -> float:
        """Return the seconds until the next test query; 0 where it is open, or one is sent."""
        return 0.0 if self.closed_until == math.inf else max(self.closed_until - now, 0.0)

    @property
    def blame(self) -> RequestError | None:
        """The fault that keeps it from being open, as of its last answer."""
        if self.refusal is not None:
            return self.refusal
        return self.fault if self.suspicion is None else self.suspicion.error

    @property
    def reason(self) -> str | None:
        """The words of the last fault that was charged to it, since its last good answer."""
        blame = self.blame
        return None if blame is None else str(blame.args[0])

    def _clear_refusal(self, asked: float) -> None:
        """Drop what a good answer disproves, to a query that was sent no earlier."""
        if asked >= self._refused_asked:
            self.refusal = None
        suspicion = self.suspicion
        if suspicion is not None and asked >= suspicion.asked:
            self.suspicion = None

    def _blame(self, error: RequestError, now: float) -> None:
        """Keep the last fault; log the first one since a good answer, but not often."""
        if self.fault is None and now - self._logged_at >= LOG_SECONDS:
            self._logged_at = now
            logger.warning("session %d: %s", self.index, error.args[0])
        self.fault = error

    def _ended(self, asked: float, now: float) -> None:
        """Let the next probe go where this was the outcome of the last one."""
        if self._probe_asked == asked:
            self._probe_asked = None
        self.update(now)

    def update(self, now: float) -> None:
        """Look at its health anew: a good answer changes nothing of it, most of the time."""
        if not self._has_worked:
            self.room = self._first_room
        self._close()
        former, self.state = self.state, self._state(now)
        if self.state != former:
            self._changed(self, former, now)

    def _close(self) -> None:
        self.probing = (
            self.refusal is not None
            or self.suspicion is not None
            or self.limiter.is_probing
            or self.breaker.probing
        )
        if not self.limiter.is_probing:
            self._newcomers.end()
        if not self.probing:  # another query than the probe has shown it
            self._probe_asked = None
        is_checked = self.suspicion is not None and self.in_flight > 0  # by what is under way
        if is_checked or self._probe_asked is not None:
            self.closed_until = math.inf
            return
        self.closed_until = max(self.held_until, self.breaker.open_until)
        if self.refusal is not None:
            self.closed_until = max(self.closed_until, self._retry_at)

    def _state(self, now: float) -> SessionState:
        if self.refusal is not None:
            return "refused"
        if self.breaker.probing:
            return "broken"
        if self.limiter.is_probing or self.held_until > now:
            return "throttled"
        return "open"

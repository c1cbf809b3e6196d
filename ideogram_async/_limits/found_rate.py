"""A limit that nobody told: found by what the gateway accepts and refuses."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from ideogram_async._limiter import LimitSource
from ideogram_async._limits.announced_limit import AnnouncedLimit
from ideogram_async._limits.chance import Chance

START_RATE, START_SECONDS = 18.0, 10.0
"""It starts at 18 queries per second, or at all pending ids in 10 s, if that is more: 18 was the
best for one client of the peers' test, and still good for two."""
LOWEST_RATE, HIGHEST_RATE = 1 / 60, 1e6
"""Queries per second that remain after any cut, and the most that a cut of no rate leaves."""
MADE_UP_SECONDS = 0.05
"""Lateness that is made up while due queries wait."""
RATE_KEPT_AFTER_CUT = 0.98
"""The part of the accepted rate that is kept at a cut."""
CUT_FACTOR = 0.7
"""The most that one refused query cuts, and the cut where the pace had not been used."""
IDLE_SHARE = 0.1
"""The part of the time in which the pace may be unused, and still tell the limit."""
IDLE_SECONDS = 10.0
"""Seconds without a query after which what was accepted before tells nothing of the limit."""
HOLD_QUERIES, SHORTEST_HOLD_SECONDS, LONGEST_HOLD_SECONDS = 3, 0.1, 18.0
"""At a limit it holds for as long as 3 queries take, within these bounds; twice as long each time
that the query after a hold is refused. It is back within 20 s of an outage: 18 s and the jitter."""
LONGEST_JITTER = 1.1
"""Times that a hold is longer at most, at random: clients of one gateway do not wake as a herd."""
STEADY_SECONDS = 30.0
"""Where the gateway closes for long after so many seconds without a refusal, the rate is kept
once: an outage looks like that, and a window closes again."""
MEASURED_QUERIES = 12
"""Accepted queries from which their rate is known to be safe."""
TRIAL_SHARE, TRIAL_SECONDS = 0.85, 8.0
FEWEST_TRIAL_QUERIES, MOST_TRIAL_QUERIES = 25, 120
"""A trial: for so many seconds, and so many queries, this part of the accepted rate goes out. A
limit of this client's own refuses none of them; chance does, and a limit that others use, too."""
UNEXPLAINED_REFUSALS, UNEXPLAINED_REFUSALS_AT_LIMIT, PASSED_TRIAL_REFUSALS = 2.0, 6.0, 0.3
"""Refusals at rates that had been accepted, which no limit of this client's own explains, that tell
of chance. Where a limit has shown others may use it, which must not be taken for chance. A trial
that passes counts against 0.3 of them; a refusal in a cluster, which is a limit's, against 1."""
LIMIT_SHARE, LIMIT_REFUSALS = 0.25, 2
"""The share of queries that a limit has refused, and not chance; or so many in a row after one."""
CHANGED_SHARE, LONG_GROWTH_SECONDS = 0.15, 30.0
"""A rate that differs by so much from the last one accepted is tried: before a window of 180 s a
wrong measurement cut it to a quarter, and there it stayed. Where it had grown for so long, what was
accepted meanwhile is far below the limit, and is not what is tried."""
GIVEN_BACK_FACTOR, GIVEN_BACK_FACTOR_AT_LIMIT = 1 / (CUT_FACTOR * TRIAL_SHARE), 1 / TRIAL_SHARE
"""The rate, by the safe one, up to which a cut is taken back: by what one cut and the trial have
taken; by what the trial has, where a limit has shown."""
CHANCE_SECONDS = 5.0
"""Seconds after which a refusal by chance begins a new measurement: the rate may have grown."""
GROWTH_PER_SECOND, GROWTH_SECONDS, GROWTH_STEP_SECONDS = 0.006, 13.0, 0.05
"""While a due query waits the rate grows by 0.006 · (1 + (g / 13 s)²) per second, g: such seconds
since the last cut; in steps of no less than 0.05 s, for a step costs time."""
CLOCK_SLOWED_FACTOR, FASTER_PER_QUERY, SLOWEST_CLOCK = 1.5, 0.008, 0.1
"""The clock of g runs 1.5 times as slowly after each cut, and 0.8 % faster after each query: a slow
limit refuses 1 query in 50 at most. It is never faster than time, nor slower than a tenth of it."""
FREE_GROWTH_PER_SECOND, MOST_GROWTH_SECONDS = 0.02, 0.33
"""Per second, in place of 0.006, while no limit has shown, or refusals are by chance; and the most
seconds of growth that one query brings."""
FAST_RATE, FASTEST_GROWTH_PER_SECOND = 100.0, 1.0
"""While no limit has shown it is (rate / 100)² if that is more, at most 1: 500 per second after
14 s."""


class FoundRate:
    """When one session may send.

    The cases of a refusal:

    1. It was sent before the last alarm: one of a cluster. Its `Retry-After` is kept.
    2. It is the query after a hold: the gateway is closed still; hold for twice as long.
    3. At a rate that was accepted: if that happens often enough, and not in clusters, it is by
       chance. The last cuts are taken back. Else it is an alarm: others may use the limit.
    4. Chance explains it: only its id waits.
    5. An alarm: hold, then let one query find out if more are accepted.

    That query's acceptance tells the rate:

    a. Closed for long, where the rate had been accepted for long: an outage. It is kept, once.
    b. The pace had been used: what was accepted since the last such moment, until that query was
       sent: the hold included, and not the time in which nothing but its answer was awaited.
    c. It had not: the rate is cut by 0.7, and may be wrong. No limit is known by that.

    The rate grows by a share of itself, as time goes by, and is cut by a share. Clients of one
    limit are refused as often as they ask, so that who asks most is cut most often, and their rates
    become equal in time (compare Chiu and Jain 1989). Growth with each query would undo that.
    """

    def __init__(self, *, is_gentle: bool = True, keys: int = 1) -> None:
        self._rate: float = START_RATE / keys if is_gentle else math.inf
        self._source: LimitSource = "none"
        self.held_until: float = -math.inf
        self.is_probing: bool = False
        self.is_certain: bool = False
        """Whether a trial below the limit was accepted in full."""
        self.chance: Chance = Chance()
        self._announced = AnnouncedLimit()
        self._bound = math.inf
        self._start_seconds = keys * START_SECONDS
        self._is_shared = keys > 1
        # The pace
        self._next = -math.inf
        self._last_sent = -math.inf
        self._waited = False
        self._grown = self._ungrown = 0.0
        self._clock = 1.0
        # What is measured since the last hold
        self._since = math.inf
        self._accepted = self._refused = 0
        self._idle = 0.0
        self._untried = 0.0  # seconds of holds beyond its own pauses
        # The last alarm
        self._alarm_at = -math.inf
        self._open_until = self._pause_until = -math.inf
        self._closed = 0
        self._is_forgiven = False
        # The last cut
        self._safe = 0.0
        self._trial = 0
        # Since the rate was last known to be right: before the cuts, and what came of them
        self._rate_before = 0.0
        self._source_before: LimitSource = "none"
        self._cut_accepted = self._cut_refused = 0
        self._unexplained = 0.0
        self._limit_shown = False
        # Before a refusal that may be the fault of an id
        self._rate_in_doubt: tuple[float, LimitSource] | None = None

    @property
    def rate(self) -> float:
        """Queries per second: what was found, or what a header allows, if that is less."""
        bound = self._bound
        if bound < self._rate:  # looked at for each query: no `min`
            return bound
        return self._rate

    @property
    def source(self) -> LimitSource:
        """How the limit is known."""
        return "header" if self._bound < self._rate else self._source

    def opens_at(self, now: float) -> float:  # noqa: ARG002 - the protocol's
        """Return when the next query may be sent."""
        if self._next < self.held_until:
            return self.held_until
        return self._next

    @property
    def pace(self) -> float:
        """Queries per second that go out now: fewer than `rate` in a trial."""
        return min(TRIAL_SHARE * self._rate if self._trial else self._rate, self._bound)

    def wait(self, pending: float) -> None:
        """Record that a due query waits for the rate: it may grow."""
        self._waited = True
        if self._source == "none" and not self.chance.is_known:
            self._rate = max(self._rate, pending / self._start_seconds)

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Record a query."""
        waited, seconds = self._waited, now - self._last_sent
        if not waited or seconds > IDLE_SECONDS:
            self._count_idle(now)
        rate = self._rate
        if self._trial:
            rate *= TRIAL_SHARE
        elif waited and paced and not self.is_probing and rate < self._bound:
            self._ungrown = ungrown = self._ungrown + seconds
            if ungrown >= GROWTH_STEP_SECONDS:
                self._grow(ungrown)
                rate = self._rate
        if self._bound < math.inf:
            self._bound = self._announced.bound(now)
            rate = min(rate, self._bound)
        if paced:
            opens_at = now - MADE_UP_SECONDS if waited else now
            self._next = max(self._next, opens_at) + 1 / rate
        self._waited = False
        self._last_sent = now

    def _count_idle(self, now: float) -> None:
        """Record how long the pace would have allowed a query, and none was due."""
        idle = now - max(self._last_sent, self._next, self.held_until)
        if idle > IDLE_SECONDS and not self.is_probing:
            self._measure(now)
            self._grown = 0.0
        elif idle > 0 and not self._waited:
            self._idle += idle

    def accepted(self, asked: float, now: float) -> None:
        """Record an accepted query."""
        self._accepted += 1
        if self._bound < math.inf:
            self._announced.accepted()
        if self._alarm_at == -math.inf:  # nothing was ever refused
            return
        self._cut_accepted += 1
        chance = self.chance
        is_safe = self._trial > 0 or self._rate <= self._safe  # `_is_safe`, without a call
        if is_safe or chance.is_known or chance.evidence:
            chance.accepted(is_safe=is_safe or self._is_idle(now))
        if self.is_probing and asked >= self._alarm_at:
            self._reopen(asked, now)
        elif self._trial and asked >= self._alarm_at:
            self._trial -= 1
            if not self._trial:
                self.is_certain = True
                self._limit_shown = False  # it does not bind at this rate
                self._rate_before = 0.0
                self._unexplained = max(self._unexplained - PASSED_TRIAL_REFUSALS, 0.0)
                self.chance.pass_trial()

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Record a refusal; return whether it holds the session. See the cases above."""
        self._refused += 1
        self._cut_refused += 1
        if asked < self._alarm_at or self.is_probing:  # 1, 2
            self._unexplained = max(self._unexplained - 1, 0.0)
        if asked < self._alarm_at:  # 1
            self._hold_for(retry_after or 0.0, now)
            return False
        if self.is_probing:  # 2
            self._untried += max(asked - self._pause_until, 0.0)
            self._closed += 1
            return self._alarm(retry_after, now)
        is_alarm = self.chance.refused(is_safe=self._is_safe or self._is_idle(now))
        if self._is_safe and not self._is_shared and self._tells_of_chance():
            self.chance.learn()  # 3
            self.is_certain = is_alarm = False
        if not is_alarm:  # 3, 4
            self._put_down_to_chance(now)
            return False
        if self.chance.is_refuted():  # 5
            self._safe = 0.0
        return self._alarm(retry_after, now)

    def _put_down_to_chance(self, now: float) -> None:
        """Take cuts back that chance has caused."""
        if self._trial or (self.chance.is_known and self._is_safe):
            self._source, self._trial = self._source_before, 0
            factor = GIVEN_BACK_FACTOR_AT_LIMIT if self._limit_shown else GIVEN_BACK_FACTOR
            self._rate = max(self._rate, min(self._rate_before, factor * self._safe))
            self._rate_before = 0.0
        if now - self._since > CHANCE_SECONDS:
            self._measure(now)

    def announced(self, remaining: float, seconds: float, now: float) -> None:
        """Record that, by an answer's headers, so many more queries are allowed within a time."""
        self._announced.announce(remaining, seconds, now)
        self._bound = self._announced.bound(now)
        if remaining < 1 and self._bound < math.inf:
            self._next = max(self._next, self._announced.until)

    def hold(self, until: float, now: float) -> None:
        """Hold, and cut, for a refusal that another user of the same limit has had."""
        self._is_shared = True
        if not self.is_probing and now > self._since:
            self._cut(now, now)
        self._source = "found"
        self.held_until = max(self.held_until, until)

    def doubt(self) -> None:
        """Keep the rate, for the refusal that comes next may be the fault of the id alone."""
        if self._rate_in_doubt is None:
            self._rate_in_doubt = self._rate, self._source

    def confirm(self) -> None:
        """Record that a refusal was no fault of the id: what was cut in doubt stays."""
        self._rate_in_doubt = None

    def withdraw(self, now: float) -> None:
        """Take back what was cut since the doubt began: the refusals were the ids' own."""
        if self._rate_in_doubt is None or self.is_probing:
            return
        self._rate, self._source = max(self._rate_in_doubt, (self._rate, self._source))
        self._rate_in_doubt, self._trial = None, 0
        self._measure(now)

    def adopt(self, rate: float, source: LimitSource, now: float) -> None:
        """Go on at what another one has found of the same limit, and measure anew."""
        self._rate, self._source, self.is_probing = rate, source, False
        self._measure(now)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Do nothing: it never opens sooner than it said."""

    @property
    def _is_safe(self) -> bool:
        """Whether the rate, or the trial's, was accepted before."""
        return self._trial > 0 or self._rate <= self._safe

    def _is_idle(self, now: float) -> bool:
        """Whether chance is known, and the pace is not used: it refuses none then."""
        return self.chance.is_known and self._idle > IDLE_SHARE * (now - self._since)

    def _tells_of_chance(self) -> bool:
        """Record a refusal at an accepted rate; return whether chance must be the reason."""
        if self.chance.is_known:
            return False
        self._unexplained += 1
        queries = self._cut_refused + self._cut_accepted
        if self._cut_refused > LIMIT_SHARE * max(queries, MEASURED_QUERIES):
            self._limit_shown = True
        most = UNEXPLAINED_REFUSALS_AT_LIMIT if self._limit_shown else UNEXPLAINED_REFUSALS
        if self._unexplained < most:
            return False
        self._unexplained = 0.0
        return True

    def _alarm(self, retry_after: float | None, now: float) -> bool:
        """Hold until one query may find out if more are accepted; return that it holds."""
        if not self.is_probing:
            self._open_until = now
        self._alarm_at, self.is_probing = now, True
        pause = max(HOLD_QUERIES / self._rate, SHORTEST_HOLD_SECONDS) * 2.0 ** min(self._closed, 10)
        pause = min(pause, LONGEST_HOLD_SECONDS)
        self._hold_for(max(retry_after or 0.0, pause), now)
        self._pause_until = now + LONGEST_JITTER * pause
        return True

    def _hold_for(self, seconds: float, now: float) -> None:
        """Hold, for a little longer at random."""
        jitter = random.uniform(1.0, LONGEST_JITTER)  # noqa: S311 - no secret
        self.held_until = max(self.held_until, now + seconds * jitter)

    def _reopen(self, asked: float, now: float) -> None:
        """Go on after a hold whose query was accepted: see the cases a to c."""
        self.is_probing = False
        self._untried += max(asked - self._pause_until, 0.0)
        seconds = self._open_until - self._since
        is_used = self._source == "none" or self._accepted >= CUT_FACTOR * self._rate * seconds
        is_outage = self._closed > 1 and seconds >= STEADY_SECONDS and is_used
        if is_outage and not self._is_forgiven:  # a
            self._is_forgiven = True
            self._rate *= RATE_KEPT_AFTER_CUT
            self._grown = 0.0
        else:
            self._is_forgiven = False
            self._cut(now, asked)
        self._closed = 0
        self._next = max(asked + 1 / self._rate, now)

    def _cut(self, now: float, until: float) -> None:
        """Cut the rate, by what was accepted from the last such moment until then."""
        before = self._rate
        self._clock = max(self._clock / CLOCK_SLOWED_FACTOR, SLOWEST_CLOCK)
        if self._closed >= LIMIT_REFUSALS and (
            not self.chance.is_known or self.chance.is_refuted()
        ):
            self._limit_shown, self._unexplained = True, 0.0
        if not self._rate_before:
            self._rate_before, self._source_before = before, self._source
            self._cut_accepted = self._cut_refused = 0
        until = self._open_until if self.chance.is_known else until - self._untried
        elapsed = max(until - self._since, 1e-3)
        rate = CUT_FACTOR ** max(self._closed, 1) * min(before, HIGHEST_RATE)
        is_idle = self._idle > IDLE_SHARE * elapsed
        is_measured = self._accepted >= MEASURED_QUERIES
        if not is_idle:  # b, else c
            self._source = "found"
            rate = min(max(RATE_KEPT_AFTER_CUT * self._accepted / elapsed, rate), before)
            if is_measured:
                rate = self._begin_trial(rate, self._accepted / elapsed)
        self._rate = max(rate, LOWEST_RATE)
        if is_measured or is_idle:
            self._measure(now)
        self._grown = 0.0

    def _begin_trial(self, rate: float, measured: float) -> float:
        """Begin a trial where the rate is in doubt; return the rate, which is the limit if not."""
        share = self._refused / (self._refused + self._accepted)
        self._limit_shown |= share > LIMIT_SHARE
        is_doubtful = (
            self._rate <= self._safe
            or abs(measured - self._safe) > CHANGED_SHARE * self._safe
            or self.chance.is_known
            or not self.is_certain
        )
        self._safe, self._trial = measured, 0
        if is_doubtful and (rate <= measured or share <= LIMIT_SHARE):
            if self._grown < LONG_GROWTH_SECONDS:
                rate = min(rate, measured)
            queries = max(TRIAL_SECONDS * rate, FEWEST_TRIAL_QUERIES)
            self._trial = int(min(queries, MOST_TRIAL_QUERIES))
        else:
            self._rate_before = 0.0
        return rate

    def _measure(self, now: float) -> None:
        """Begin to measure what is accepted."""
        self._since, self._accepted, self._refused = now, 0, 0
        self._idle = self._untried = 0.0

    def _grow(self, seconds: float) -> None:
        """Let the rate grow for the time since the last query, or since several were sent.

        1. No limit is known: the faster, the higher it is.
        2. Refusals by chance are known: as at the beginning.
        3. A limit was found: slowly. In 1 and 3 the time is that of a clock which cuts slow down.
        """
        growth, self._ungrown = FREE_GROWTH_PER_SECOND, 0.0
        seconds = min(seconds, MOST_GROWTH_SECONDS)
        is_first = self._source == "none"
        if not self.chance.is_known:
            faster = 1 + FASTER_PER_QUERY * seconds * self._rate
            self._clock = min(self._clock * faster, 1.0)
            seconds *= self._clock
            growth = FREE_GROWTH_PER_SECOND if is_first else GROWTH_PER_SECOND
        growth *= 1 + (self._grown / GROWTH_SECONDS) ** 2
        if is_first:
            growth = max(growth, min((self._rate / FAST_RATE) ** 2, FASTEST_GROWTH_PER_SECOND))
        self._grown += seconds
        self._rate = min(self._rate * (1 + growth * seconds), HIGHEST_RATE)

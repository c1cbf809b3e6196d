"""The adaptive schedule: query again once the expected lag is worth the price of a query.

Lag is the time between a request's real completion and the answer that shows it. What remains of
a request, R, is taken as lognormal, and known to be more than `w`. Its parameters are mu, the log
of the median, and sg, the deviation. They are learned from the requests that have completed, and
sharpened by the progress that answers tell. Seconds throughout; times are on the event loop's clock
unless they say otherwise.
"""

from __future__ import annotations

import logging
import math
import random
from math import exp, log, sqrt
from typing import TYPE_CHECKING

from ideogram_async._logging import logger
from ideogram_async._schedules.explanation import explained
from ideogram_async._schedules.learned import (
    EDGES,
    OLDEST_SECONDS,
    BandPool,
    CompletionSample,
    Learned,
    LineSample,
    Pools,
    band_of,
    kind_of,
    within,
)
from ideogram_async._schedules.progress_line import (
    GATE_DEVIATIONS,
    MOST_STRAY_VARIANCES,
    LinePrior,
    ProgressLine,
)
from ideogram_async._schedules.rent_or_buy import LONGEST_DELAY_SECONDS, interval
from ideogram_async._schedules.request_state import (
    BASIS,
    CROOKED,
    DURATION,
    FRESH,
    LINE,
    ORIGIN,
    PLAIN,
    PROGRESS,
    RESUMED,
    UNSEEN,
    JobState,
    RequestState,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from ideogram_async._schedules.base import Observation

SHORTEST_DELAY_SECONDS = 0.05
"""Seconds: no delay is shorter."""
PROGRESS_BELIEVED_DEVIATION = 0.9
"""The widest deviation at which a band's progress is of use; the prior's is just below it."""
FRESH_SECONDS = 2.0
"""A request that is no older by the server's clock is taken as fresh."""
LEAST_DEVIATION = 1e-4
"""A line's end is not taken as more precise, of its duration, lest rounding decide."""
HUNG_SHARE = 0.13
"""Of the time beyond two deviations, that a request which hangs is left alone."""
PERCENTAGE_LATE_FACTOR = 1.25
"""Of what the last percentage predicts to remain, by which the end is expected."""
LINE_LATE_SHARE = 0.05
"""Of its duration, after a line's end, by which a request is expected to end at latest: one early
percentage leaves a wide line, and to wait for its whole deviation took a trained schedule longer
than to look."""
LEAST_STRAY_VARIANCES = 0.5
"""Lines are not taken as more precise than this, in variances, however well they did."""
POINTS_OF_A_LINE = 2
"""Fewer show nothing of how straight it is: they lie on a line whatever they are."""
LARGEST_WAITING_SHARE = 0.9
"""Of its duration that a request is expected to wait: the rest is its pace, and must not be 0."""
ONE_POINT_WIDENING = 1.3
"""How much wider the end of a line is taken that has one point: where progress turns crooked, such
a line costs most, and shows least."""
FIRST_POINTS_PRICE_SHARE = 0.5
"""Of the price, where a query also shows the first points of a line: the value of information."""
LAST_BAND = band_of(EDGES[-1])
MOST_ESTIMATES = 255
"""The count of a request's estimates stops there."""


class AdaptiveSchedule:
    """Query seldom, and know at once: learns how long requests take, and how far to trust progress.

    `price` is the one setting: the seconds of lag that are worth one query (0.02 snappy, 0.2
    frugal). `learned` is what an earlier schedule's `save` returned.

    Every delay is finite, at least 0.05 s, and at most 30 s or a tenth of the request's age; only
    the first query of a request that is not known to be fresh is due at once. The log says at level
    DEBUG (`IDEOGRAM_LOG=debug`) what each delay was made from.

    Raises:
        ValueError: The price is not > 0 and finite, or `learned` is out of bounds.

    """

    def __init__(self, price: float = 0.05, *, learned: Learned | None = None) -> None:
        if not 0 < price < math.inf:
            raise ValueError(f"price is {price!r}: expected seconds > 0, and finite")
        self.price = price
        self._random = random.Random(0)  # noqa: S311 - a sample, not a secret
        self.on_sample: Callable[[CompletionSample], None] | None = None
        """Called with what each completion has taught, so that schedules of other processes can
        `learn` it. A `RedisLimiter` of the client uses it, unless it is set."""
        self._pools = Pools(learned)

    def __repr__(self) -> str:
        return f"AdaptiveSchedule({self.price!r})"

    def save(self) -> Learned:
        """Return what was learned so far, for `AdaptiveSchedule(learned=...)` after a restart."""
        return self._pools.save()

    def start(self, now: float, *, just_submitted: bool) -> tuple[JobState, float]:
        """Return the state of a request, and 0, or the delay of band 0 where it is fresh.

        Its kind is not known before its first answer, so the bands of all requests together rule.
        On mixed kinds that gave a third of the lag of those of the kind seen last, and as little
        as weighing all kinds by how often they come.
        """
        if not just_submitted:
            return JobState(_NOT_SEEN), 0.0
        return self._begin(self._pools.all, now)

    def next_delay(self, state: JobState, seen: Observation) -> float:
        """Return the seconds from the answer to the next query.

        1. The request has not started: its clock starts anew.
        2. The answer says nothing new, nor did those before: how long requests take.
        3. Otherwise its progress counts.
        """
        record, packed = seen.record, state.packed
        pool = self._pools.of(record)
        if record.has_started is False:
            begun, delay = self._begin(pool, seen.asked, seen.answered - seen.asked)
            state.packed = begun.packed
        elif (
            record.completion_percentage is None
            and len(packed) == PLAIN.size
            and packed[ORIGIN] != UNSEEN
        ):
            delay = self._by_duration(state, pool, seen)
        else:
            job = unpack(state)
            delay = job.delay = self._with_progress(job, pool, seen)
            state.packed = pack(job)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug("%s: %s", record.request_id, self.explain(state))
        return delay

    def explain(self, state: JobState) -> str:
        """Return what a request's last delay was made from; the log has it at level DEBUG.

        For example: "linear, 62 %, end expected in 4.1 ± 0.3 s, next query in 3.9 s". Seconds count
        from its last query.
        """
        return explained(unpack(state))

    def completed(self, state: JobState, seen: Observation) -> None:
        """Learn how long a request took, and how right its progress was; fresh requests only.

        The end lies between the last query and this one. How late this one was sent is not held
        against it: with queries up to 10 s late, to weigh by that taught durations a fifth too
        short, the plain middle a twentieth.
        """
        if state.packed[ORIGIN] != FRESH:  # most often, and before the state is unpacked
            return
        job = unpack(state)
        last, asked = max(job.last_asked, 0.0), seen.asked - job.began
        end = (last + asked) / 2
        sample = CompletionSample(
            kind=kind_of(seen.record),
            duration=_log(end),
            band=job.sample_band if job.estimates else 0,
            residual=_log(end - job.sample_at) - job.sample_log_left if job.estimates else 0.0,
            line=None if job.line is None else _line_sample(job.line, end, asked - last),
        )
        self.learn(sample)
        if self.on_sample is not None:
            self.on_sample(sample)

    def learn(self, sample: CompletionSample) -> None:
        """Learn from a completion that a schedule of another client has seen: see `on_sample`."""
        for pool in self._pools.taught_by(sample.kind):
            pool.teach_band(0, sample.duration)
            if sample.band:
                pool.teach_band(sample.band, sample.residual)
            if sample.line is not None:
                pool.teach_line(sample.line)

    def expected_end(self, state: JobState) -> float | None:
        """Return the end that progress predicts, or as late again as it is overdue.

        1. By the line: a standard deviation late, but at most a twentieth of the duration.
        2. By the last percentage: a quarter late.

        An answer that comes after the end that its own progress predicts (the round trip was
        longer) has not refuted it: to forget the end then made the last queries wait a whole sweep.
        """
        basis = state.packed[BASIS]
        if basis not in {PROGRESS, LINE}:
            return None
        began, last_asked, told_at, _, mu, sg, *_ = PLAIN.unpack_from(state.packed)
        if basis == LINE:
            end = exp(mu) * (1 + (sg if sg < LINE_LATE_SHARE else LINE_LATE_SHARE))
        else:
            end = told_at + PERCENTAGE_LATE_FACTOR * exp(mu)
        return float(began) + (end if end > last_asked else 2 * last_asked - end)

    def is_sure(self, state: JobState) -> bool:
        """Return whether the expected end is that of a line which is believed.

        While a rate limits the queries, such a request goes before all others once its end has
        passed: then it is complete, five times of six where its line is well known.
        """
        return state.packed[BASIS] == LINE

    def _begin(self, pool: BandPool, now: float, trip: float = 0.0) -> tuple[JobState, float]:
        """Return the state of a request that begins now, or later: and when to ask it first.

        The lag counts from the last query, the delay from its answer.
        """
        mu, sg = pool.duration
        price, delay = pool.first_look
        asked = self.price * FIRST_POINTS_PRICE_SHARE if pool.is_straight else self.price
        if price != asked:
            delay = interval(mu, sg, 0.0, asked)
            pool.first_look = asked, delay
        if trip > 0:
            delay -= trip
        if delay < SHORTEST_DELAY_SECONDS:
            delay = SHORTEST_DELAY_SECONDS
        packed = PLAIN.pack(now, 0.0, 0.0, 0.0, mu, sg, delay, 0, 0, FRESH, DURATION, 0.0, 0.0)
        return JobState(packed), delay

    def _by_duration(self, state: JobState, pool: BandPool, seen: Observation) -> float:
        """Return the delay of a request that has shown no progress, by how long requests take."""
        began, _, _, told, _, _, _, _, _, origin, _, *anchor = PLAIN.unpack(state.packed)
        asked = age = seen.asked - began
        if not 0 <= age <= OLDEST_SECONDS:
            age = within(0.0, age, OLDEST_SECONDS)
        mu, sg = pool.duration
        delay = _guarded(interval(mu, sg, age, self.price), mu, sg, age, age, seen)
        state.packed = PLAIN.pack(
            began, asked, 0.0, told, mu, sg, delay, 0, 0, origin, DURATION, *anchor
        )
        return delay

    def _with_progress(self, job: RequestState, pool: BandPool, seen: Observation) -> float:
        """Return the delay of a request by its progress.

        1. The kind's lines are straight, and the request's has not failed: its end, by the line.
        2. The band's progress is of use: what remains, by the last percentage.
        3. Neither: how long requests take.
        """
        if job.origin == UNSEEN:
            _place(job, seen, pool)
        asked, price = seen.asked - job.began, self.price
        told = seen.record.completion_percentage
        if told is not None:
            self._observe(job, pool, told, asked)
        job.last_asked = asked
        age = w = within(0.0, asked, OLDEST_SECONDS)
        k, line, deviations = job.band, job.line, pool.deviations
        if line is not None and pool.is_straight and _by_line(job, line, pool, age):
            if line.points < POINTS_OF_A_LINE:
                price *= FIRST_POINTS_PRICE_SHARE
        elif k and deviations[k] <= PROGRESS_BELIEVED_DEVIATION:
            job.log_median, job.deviation = pool.bands[k].mean + job.log_left, deviations[k]
            crooked = k == LAST_BAND and not pool.is_straight
            job.basis = CROOKED if crooked else PROGRESS
            w = within(0.0, asked - job.told_at, OLDEST_SECONDS)
        else:
            job.log_median, job.deviation = pool.duration
            job.basis = DURATION
        mu, sg = job.log_median, job.deviation
        return _guarded(interval(mu, sg, w, price), mu, sg, w, age, seen)

    def _observe(self, job: RequestState, pool: BandPool, told: float, asked: float) -> None:
        """Record a percentage: x = ln( time since the anchor · what is left / what was done ).

        The reservoir (Vitter 1985) keeps each of a request's estimates with the same chance.
        """
        p = within(0.0, told, 100.0)
        p = int(64 * p + 0.5) / 64  # single precision holds it exactly
        if p == job.percentage:
            return
        job.percentage = p
        if p < job.anchor_percentage:
            job.anchored_at, job.anchor_percentage = asked, p
        k = band_of(p)
        job.band = k if p > job.anchor_percentage else 0
        if k:
            job.told_at = asked
            _add_point(job, pool, p, asked)
        if job.band:
            taken = within(0.3, asked - job.anchored_at, OLDEST_SECONDS)
            job.log_left = _log(taken * (100.5 - p) / (p - job.anchor_percentage))
            if job.estimates < MOST_ESTIMATES:
                job.estimates += 1
            if self._random.random() * job.estimates < 1:
                job.sample_band, job.sample_at, job.sample_log_left = k, asked, job.log_left


def _by_line(job: RequestState, line: ProgressLine, pool: BandPool, age: float) -> bool:
    """Take the end from the line, unless it has failed; return whether it has not."""
    if line.pace == 0:  # it is given up
        return False
    end, variance = line.end()
    stray = pool.stray.mean
    if stray < LEAST_STRAY_VARIANCES:
        stray = LEAST_STRAY_VARIANCES
    deviation = sqrt(stray * variance)
    if line.points < POINTS_OF_A_LINE:
        deviation *= ONE_POINT_WIDENING
    if (
        not SHORTEST_DELAY_SECONDS < end < OLDEST_SECONDS
        or age >= end + GATE_DEVIATIONS * deviation
    ):
        return False
    job.log_median, job.basis = log(end), LINE
    job.deviation = within(LEAST_DEVIATION, deviation / end, 1.5)
    return True


def _guarded(delay: float, mu: float, sg: float, w: float, age: float, seen: Observation) -> float:
    """Return the rule's delay from the answer on, guarded for the hung and for a change of regime.

    The lag counts from the last query, the delay from its answer.
    """
    trip = seen.answered - seen.asked
    if trip > 0:
        delay -= trip
    if delay < HUNG_SHARE * w:
        least = HUNG_SHARE * (w - exp(mu + 2 * sg))
        if delay < least:
            delay = least
    if delay > age:
        delay = age if age > 1 else 1.0
    if SHORTEST_DELAY_SECONDS <= delay <= LONGEST_DELAY_SECONDS:
        return delay
    return within(SHORTEST_DELAY_SECONDS, delay, max(LONGEST_DELAY_SECONDS, 0.1 * age))


_NOT_SEEN = pack(RequestState(0.0))


def _log(x: float) -> float:
    return log(within(0.01, x, OLDEST_SECONDS))


def _add_point(job: RequestState, pool: BandPool, p: float, asked: float) -> None:
    """Add a point to the request's line; 99, which often stays, is none where two are known."""
    at, line = within(-OLDEST_SECONDS, asked, OLDEST_SECONDS), job.line
    if line is None:
        band, begun = pool.bands[0], pool.begun
        duration = within(0.01, exp(band.mean), OLDEST_SECONDS)
        share, variance = (begun.mean, begun.var) if job.origin == FRESH else (0.0, 1.0)
        if share > LARGEST_WAITING_SHARE:
            share = LARGEST_WAITING_SHARE
        prior = LinePrior(duration, pool.deviations[0], share, variance)
        job.line = ProgressLine.through(at, p, prior)
    elif line.pace and (p < EDGES[-1] or line.points < POINTS_OF_A_LINE):
        line.observe(at, p)


def _line_sample(line: ProgressLine, took: float, width: float) -> LineSample:
    """Return what a line teaches whose real end is known, within `width` seconds."""
    if line.is_given_up:
        return LineSample(MOST_STRAY_VARIANCES, None, 0.0)
    stray = line.stray(took, width) if line.points >= POINTS_OF_A_LINE else None
    took = max(took, SHORTEST_DELAY_SECONDS)
    begun, variance = line.begun_given(took, width)
    share, variance = begun / took, variance / (took * took)
    return LineSample(stray, within(-1.0, share, 1.0), min(variance, 1.0))


def _place(job: RequestState, seen: Observation, pool: BandPool) -> None:
    """Set how old a resumed request is, by the server's clock alone; `Date` is cut to seconds.

    One that it calls new is taken as fresh. Otherwise two of its clocks may differ, so its age is
    kept below what is likely, and progress is measured from here, by this machine's clock.
    """
    created, date = seen.record.creation_time_float, seen.server_time
    told = -1.0 if created is None or date is None else date + 0.5 - created
    new = 0 <= told <= FRESH_SECONDS
    band = pool.bands[0]
    age = within(0.0, told, exp(band.mean + band.deviation))
    job.origin = FRESH if new else RESUMED
    job.began = seen.asked - age
    if not new:
        job.anchored_at = age
        job.anchor_percentage = within(0.0, seen.record.completion_percentage or 0.0, 100.0)

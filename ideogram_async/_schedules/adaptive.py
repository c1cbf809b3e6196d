"""The adaptive schedule: ask again once the expected lag is worth the price of a query.

Lag is the time between a request's real completion and the answer that shows it. What remains of
a request, R, is taken as lognormal with parameters (mu, sg), and known to be more than `w`. They
are learned from the requests that have completed, and sharpened by the progress that answers tell.
Seconds throughout; times are on the event loop's clock unless they say otherwise.
"""

from __future__ import annotations

import math
import random
import struct
from math import erfc, exp, log, sqrt
from typing import TYPE_CHECKING

import msgspec

from ideogram_async._schedules.learned import EVER, Band, Learned, Pools, band_of, within

if TYPE_CHECKING:
    from ideogram_async._schedules.base import Observation

SHORTEST, LONGEST = 0.05, 30.0
_BELIEVED = 0.9  # the widest sg at which progress is of use; the prior's is just below it
_FAR_TAIL = 1e-6
_LEAST_SLOPE = 1e-9
_NEARLY = 0.1  # of the price: another step from there is the last that is worth its own
_NEW = 2.0  # seconds of age
_ROOT_HALF = sqrt(0.5)
_ROOT_TWO_PI = sqrt(2 * math.pi)


class JobState(msgspec.Struct, gc=False):
    """One request's `_Job`, packed: 128 bytes in place of some 400."""

    packed: bytes


class RequestState(msgspec.Struct, gc=False):
    t0: float  # when it began, or was last seen not to have started
    p: float  # the last percentage told
    p_anchor: float  # where progress is measured from …
    t_anchor: float  # … and when it was there
    last: float  # when it was last asked
    since: float  # when the progress was told that is believed now
    x: float = 0.0  # the log of the naive estimate of what remained at `since`
    note_at: float = 0.0  # the one note kept: an estimate, to be compared with the real end
    note_x: float = 0.0
    end: float = 0.0  # when it is expected to end, 0 if unknown
    k: int = 0  # the band of `p`, 0 where it tells nothing
    note_k: int = 0
    notes: int = 0  # how many estimates the note was drawn from
    origin: int = 0  # whether t0 is known: one of the three below


_UNSEEN, _RESUMED, _FRESH = range(3)
_LAYOUT = struct.Struct("3d7f4B")  # times but t0 are since t0; `origin` is the last byte


def interval(mu: float, sg: float, w: float, price: float) -> float:
    """Give the smallest d with E[(w + d - R)+ | R > w] = price, for R ~ LN(mu, sg); at most 30 s.

    The rule is rent or buy (Karlin et al. 1988); what it gives is a checking schedule (Barlow,
    Hunter and Proschan 1963). With Q the upper tail of the normal, z(x) = (ln x - mu)/sg,
    m = exp(mu + sg²/2) and s = w + d, the expectation is, by the lognormal's partial expectation,
    ( s·[Q(z_w) - Q(z_s)] - m·[Q(z_w - sg) - Q(z_s - sg)] ) / Q(z_w). It is convex in s, with the
    slope P(R <= s | R > w), so Newton's method comes down to the root from the right, wherever it
    begins: at Keller's (1974) step at the hazard of w, from where one more is enough, most of the
    time, but no further than E[R | R > w] + price, which is not below the root (Jensen). Far in
    the tail Keller's step is all, at the hazard z_w/(sg·w): the differences would cancel out.
    """
    q_w = t_w = 1.0
    s = math.inf
    if w > 0:
        z_w = (log(w) - mu) / sg
        q_w = 0.5 * erfc(z_w * _ROOT_HALF)
        if q_w < _FAR_TAIL:
            return min(sqrt(2 * price * sg * w / z_w), LONGEST)
        t_w = 0.5 * erfc((z_w - sg) * _ROOT_HALF)
        bell = exp(-0.5 * z_w * z_w)
        if bell > 0:
            s = w + sqrt(2 * price * q_w * _ROOT_TWO_PI * sg * w / bell)
    m = exp(mu + sg * sg / 2)
    most = min(m * t_w / q_w + price, w + LONGEST)
    s = min(s, most)
    for _ in range(16):
        z_s = (log(s) - mu) / sg
        slope = 1 - 0.5 * erfc(z_s * _ROOT_HALF) / q_w
        excess = s * slope - m * (t_w - 0.5 * erfc((z_s - sg) * _ROOT_HALF)) / q_w - price
        if slope < _LEAST_SLOPE or (s == most and excess <= 0):  # the last digits, or the cap
            break
        step = excess / slope
        s = min(s - step, most)
        if abs(excess) < _NEARLY * price:
            break
    return s - w


class AdaptiveSchedule:
    """Ask seldom, know at once: learns how long requests take, and how far to trust progress.

    `price` is the one setting: the seconds of lag that are worth one query (0.02 snappy, 0.2
    frugal). `learned` is what an earlier schedule's `save` gave.

    Every delay is finite, at least 0.05 s, and at most 30 s or a tenth of the request's age; only
    the first query of a request that is not known to be fresh is due at once.
    """

    def __init__(self, price: float = 0.05, *, learned: Learned | None = None) -> None:
        if not 0 < price < math.inf:
            raise ValueError(f"price is {price!r}: expected seconds > 0, and finite")
        self.price = price
        self._random = random.Random(0)  # noqa: S311 - a sample, not a secret
        self._pools = Pools(learned)

    def __repr__(self) -> str:
        return f"AdaptiveSchedule({self.price!r})"

    def save(self) -> Learned:
        """Give what was learned so far, for `AdaptiveSchedule(learned=...)` after a restart."""
        return self._pools.save()

    def start(self, now: float, *, just_submitted: bool) -> tuple[JobState, float]:
        """Ask a resumed request at once, and a fresh one when band 0 says.

        Its kind is not known before its first answer, so the bands of all requests together rule.
        On mixed kinds that gave a third of the lag of those of the kind seen last, and as little
        as weighing all kinds by how often they come.
        """
        if not just_submitted:
            return JobState(_NOT_SEEN), 0.0
        band = self._pools.all[0]
        delay = max(interval(band.mean, band.sg, 0.0, self.price), SHORTEST)
        return JobState(_pack(RequestState(now, 0.0, 0.0, now, now, now, origin=_FRESH))), delay

    def next_delay(self, state: JobState, seen: Observation) -> float:
        """Give the seconds from the answer to the next query."""
        job = _unpack(state)
        pool = self._pools.of(seen.record)
        if job.origin == _UNSEEN:
            _place(job, seen, pool[0])
        if seen.record.has_started is False:
            _begin_anew(job, seen.asked)
        elif seen.record.completion_percentage is not None:
            self._progress(job, seen.record.completion_percentage, seen.asked)
        job.last = seen.asked
        delay = self._delay(job, pool, seen)
        state.packed = _pack(job)
        return delay

    def completed(self, state: JobState, seen: Observation) -> None:
        """Teach band 0, and the band of the one note, how long it took; fresh requests only.

        The end lies between the last query and this one. How late this one went out is not held
        against it: with queries up to 10 s late, to weigh by that taught durations a fifth too
        short, the plain middle a twentieth.
        """
        if state.packed[-1] != _FRESH:
            return
        job = _unpack(state)
        last = max(job.last, job.t0)
        end = (last + seen.asked) / 2
        self._pools.teach(seen.record, 0, _log(end - job.t0))
        if job.notes:
            residual = _log(end - job.note_at) - job.note_x
            self._pools.teach(seen.record, job.note_k, residual)

    def expected_end(self, state: JobState) -> float | None:
        """Give the end that progress predicts, a quarter late, or as late again as it is overdue.

        An answer that comes after the end that its own progress predicts (the round trip was
        longer) has not refuted it: to forget the end then made the last queries wait a whole sweep.
        """
        return _unpack(state).end or None

    def _progress(self, job: RequestState, told: float, asked: float) -> None:
        """Take in a percentage: x = ln( time since the anchor · what is left / what was done ).

        The reservoir (Vitter 1985) keeps each of a request's estimates with the same chance.
        """
        p = within(0.0, told, 100.0)
        if p == job.p:
            return
        job.p = p
        if p < job.p_anchor:
            job.t_anchor, job.p_anchor = asked, p
        job.k = band_of(p) if p > job.p_anchor else 0
        if job.k:
            taken = within(0.3, asked - job.t_anchor, EVER)
            job.since, job.x = asked, _log(taken * (100.5 - p) / (p - job.p_anchor))
            job.notes = min(job.notes + 1, 255)
            if self._random.random() * job.notes < 1:
                job.note_k, job.note_at, job.note_x = job.k, asked, job.x

    def _delay(self, job: RequestState, pool: list[Band], seen: Observation) -> float:
        """Apply the rule, then the guards: for the hung, and for a change of regime."""
        asked, answered = seen.asked, seen.answered
        job.end = 0.0
        age = w = within(0.0, asked - job.t0, EVER)
        band = pool[job.k]
        mu, sg = band.mean, band.sg
        if job.k and sg <= _BELIEVED:
            mu += job.x
            w = within(0.0, asked - job.since, EVER)
            end = job.since + 1.25 * exp(mu)
            job.end = end if end > asked else 2 * asked - end
        elif job.k:
            mu, sg = pool[0].mean, pool[0].sg
        # The lag counts from the last look, the delay from its answer.
        delay = interval(mu, sg, w, self.price) - within(0.0, answered - asked, EVER)
        delay = max(delay, 0.13 * (w - exp(mu + 2 * sg)))
        if seen.record.has_started is not False:
            delay = min(delay, max(1.0, age))
        return within(SHORTEST, delay, max(LONGEST, 0.1 * age))


def _unpack(state: JobState) -> RequestState:
    job = RequestState(*_LAYOUT.unpack(state.packed))
    t0 = job.t0
    job.last += t0
    job.since += t0
    job.t_anchor += t0
    job.note_at += t0
    if job.end:
        job.end += t0
    return job


def _pack(job: RequestState) -> bytes:
    t0 = job.t0
    return _LAYOUT.pack(
        t0,
        job.p,
        job.p_anchor,
        job.t_anchor - t0,
        job.last - t0,
        job.since - t0,
        job.x,
        job.note_at - t0,
        job.note_x,
        job.end and job.end - t0,
        job.k,
        job.note_k,
        job.notes,
        job.origin,
    )


_NOT_SEEN = _pack(RequestState(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, origin=_UNSEEN))


def _log(x: float) -> float:
    return log(within(0.01, x, EVER))


def _place(job: RequestState, seen: Observation, band: Band) -> None:
    """Find out how old a resumed request is, by the server's clock alone; `Date` is cut to seconds.

    One that it calls new is taken as fresh. Otherwise two of its clocks may differ, so its age is
    kept below what is likely, and progress is measured from here, by this machine's clock.
    """
    created, date = seen.record.creation_time_float, seen.server_time
    told = -1.0 if created is None or date is None else date + 0.5 - created
    new = 0 <= told <= _NEW
    age = within(0.0, told, exp(band.mean + band.sg))
    job.origin = _FRESH if new else _RESUMED
    job.t0 = job.last = seen.asked - age
    job.t_anchor = job.t0 if new else seen.asked
    job.p_anchor = 0.0 if new else within(0.0, seen.record.completion_percentage or 0.0, 100.0)


def _begin_anew(job: RequestState, asked: float) -> None:
    """Start the clock anew: not started, it cannot end sooner than one that starts now."""
    job.t0 = job.t_anchor = asked
    job.p = job.p_anchor = 0.0
    job.k = job.notes = 0
    job.origin = _FRESH

"""A discrete-event simulation of a polling client: the library's schedules, without HTTP."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.schedule.workloads import DURATION_LAW, MEAN_QUEUE_SECONDS, Workload, percentage
from ideogram_async._models import SamplingRequest
from ideogram_async._schedules.base import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.schedule.workloads import SimulatedJob
    from ideogram_async._schedules.base import Schedule

_EPOCH = 1.7e9
"""The gateway's clock at the simulation's time 0, in seconds since 1970."""
MEAN_ROUND_TRIP_SECONDS = 0.175


class Outcome(msgspec.Struct, frozen=True):
    """What a schedule cost: the queries and the lag (seconds) of each job."""

    polls: Sequence[int]
    lags: Sequence[float]

    @property
    def mean_polls(self) -> float:
        """Queries per request."""
        return sum(self.polls) / len(self.polls)

    @property
    def mean_lag(self) -> float:
        """Seconds from completion to the answer that shows it."""
        return sum(self.lags) / len(self.lags)

    @property
    def point(self) -> tuple[float, float]:
        """The mean lag and the mean number of queries."""
        return self.mean_lag, self.mean_polls

    def percentile(self, share: float) -> float:
        """Return a quantile of the lag, in seconds."""
        return sorted(self.lags)[int(share * len(self.lags))]


def round_trip(rng: random.Random) -> float:
    """Return a random round trip in seconds; the gateway reads the state half-way through it."""
    return rng.uniform(0.05, 0.30)


class _Simulation:
    """All queries of all jobs, in the order of their answers."""

    def __init__(self, schedule: Schedule[Any], work: Workload, progress: str) -> None:
        self.schedule, self.work, self.progress = schedule, work, progress
        self.rng = random.Random(f"{work.name} {work.seed} {progress}")
        self.answers: list[tuple[float, int, float, float]] = []
        self.states: list[Any] = [None] * len(work.jobs)
        self.polls = [0] * len(work.jobs)
        self.lags = [0.0] * len(work.jobs)

    def run(self, taken: Sequence[float], *, just_submitted: bool, clock: float) -> Outcome:
        """Start each job at its time in `taken`, and poll it to its end.

        `clock` is the error of the gateway's clock, in seconds.
        """
        arrivals = sorted(range(len(taken)), key=taken.__getitem__, reverse=True)
        while arrivals or self.answers:
            if arrivals and (not self.answers or taken[arrivals[-1]] <= self.answers[0][0]):
                i = arrivals.pop()
                self.states[i], delay = self.schedule.start(taken[i], just_submitted=just_submitted)
                self._ask(i, taken[i] + delay)
            else:
                self._answer(*heapq.heappop(self.answers), clock)
        return Outcome(self.polls, self.lags)

    def _ask(self, i: int, asked: float) -> None:
        trip = round_trip(self.rng)
        heapq.heappush(self.answers, (asked + trip, i, asked, asked + trip / 2))

    def _answer(self, answered: float, i: int, asked: float, read: float, clock: float) -> None:
        job, state = self.work.jobs[i], self.states[i]
        self.polls[i] += 1
        record = self._record(job, read, clock)
        date = float(int(_EPOCH + answered))
        seen = Observation(asked, answered, 0.0, record, date)
        if record.completion_percentage == 100:
            self.schedule.completed(state, seen)
            self.lags[i] = answered - job.end
            self.states[i] = None
        else:
            self._ask(i, answered + self.schedule.next_delay(state, seen))

    def _record(self, job: SimulatedJob, read: float, clock: float) -> SamplingRequest:
        kind = job.progress if self.progress == "mix" else self.progress
        shown: int | None = None
        started: bool | None = None
        if read >= job.end:
            shown = 100
        elif kind != "absent":
            started = read >= job.started
            shown = percentage(kind, job, read - job.started, self.rng) if started else 0
        return SamplingRequest(
            completion_percentage=shown,
            has_started=started,
            creation_time_float=_EPOCH + job.submitted + clock,
            model_version="V_3_0",
            request_type="TEXT_TO_IMAGE",
            sampling_speed=job.speed,
        )


def simulate(
    schedule: Schedule[Any],
    work: Workload,
    progress: str,
    *,
    resumed: Sequence[float] | None = None,
    clock: float = 0.0,
) -> Outcome:
    """Poll every job to its end.

    `resumed` holds the age of each job (seconds) at its first query; None polls from submission on.
    """
    taken = [job.submitted for job in work.jobs]
    if resumed is not None:
        taken = [at + age for at, age in zip(taken, resumed, strict=True)]
    simulation = _Simulation(schedule, work, progress)
    return simulation.run(taken, just_submitted=resumed is None, clock=clock)


def always(interval: float) -> Callable[[int, random.Random], float]:
    """Return the delay of a fixed interval."""
    return lambda _n, _rng: interval


def poll_blindly(work: Workload, delay: Callable[[int, random.Random], float]) -> Outcome:
    """Poll with delays that depend on the number of queries so far, and on no answer."""
    rng = random.Random(f"blind {work.name} {work.seed}")
    polls, lags = [], []
    for job in work.jobs:
        left = job.queue + job.run
        n = 0
        while True:
            trip = round_trip(rng)
            left -= delay(n, rng) + trip
            n += 1
            if left <= -trip / 2:
                break
        polls.append(n)
        lags.append(-left)
    return Outcome(polls, lags)


class Curve:
    """Queries against lag: straight lines between the logarithms of measured points."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        self.points = sorted(points)
        self._x = [math.log(lag) for lag, _ in self.points]
        self._y = [math.log(polls) for _, polls in self.points]

    @property
    def lags(self) -> tuple[float, float]:
        """The shortest and the longest measured lag, in seconds."""
        return self.points[0][0], self.points[-1][0]

    def polls(self, lag: float) -> float:
        """Return the queries per request at a mean lag."""
        x = math.log(lag)
        i = min(max(bisect_left(self._x, x), 1), len(self._x) - 1)
        share = (x - self._x[i - 1]) / (self._x[i] - self._x[i - 1])
        return math.exp(self._y[i - 1] + share * (self._y[i] - self._y[i - 1]))


def optimum(name: str, prices: Sequence[float]) -> Curve:
    """Return the Barlow-Proschan bound: the best schedule for the true law, without progress.

    It is found by dynamic programming, on a grid of times at which the gateway reads the state.
    With F̄ the share of jobs that last longer, V(s) = min over t of price·F̄(s) + E[(t - T)+; T > s]
    + V(t), where t is at least a mean round trip after s.
    """
    grid = DURATION_LAW[name][0] / 150
    alive, inside = _law(name, grid)
    return Curve(_plan(alive, inside, grid, price) for price in prices)


def waiting_bound(name: str, queues: Sequence[float], price: float) -> tuple[float, float]:
    """Return the mean lag and the queries of that schedule, over jobs of several mean queues."""
    grid = DURATION_LAW[name][0] / 90
    plans = [_plan(*_law(name, grid, queue), grid, price) for queue in queues]
    lags, polls = zip(*plans, strict=True)
    return sum(lags) / len(plans), sum(polls) / len(plans)


def _law(
    name: str, grid: float, queue: float = MEAN_QUEUE_SECONDS
) -> tuple[list[float], list[float]]:
    """Return F̄ and its integral on the grid, for a lognormal run after an exponential queue.

    For a sum with an exponential, F̄' = -(F̄ - F̄_run)/queue. Each step is exact for a constant F̄_run.
    """
    median, sigma = DURATION_LAW[name]
    size = int((median * math.exp(4.5 * sigma) + 6 * (queue - MEAN_QUEUE_SECONDS)) / grid)
    keep = math.exp(-grid / queue)
    alive, inside = [1.0], [0.0]
    for i in range(size):
        z = math.log((i + 0.5) * grid / median) / sigma
        run = 0.5 * math.erfc(z * math.sqrt(0.5))
        alive.append(keep * alive[-1] + (1 - keep) * run)
        inside.append(inside[-1] + grid * (alive[-1] + alive[-2]) / 2)
    return alive, inside


def _plan(
    alive: list[float], inside: list[float], grid: float, price: float
) -> tuple[float, float]:
    """Solve for one price, backwards; return the mean lag and the queries of the best schedule."""
    last, least = len(alive) - 1, math.ceil(MEAN_ROUND_TRIP_SECONDS / grid)
    value, lag, polls = [0.0] * (last + 1), [0.0] * (last + 1), [0.0] * (last + 1)
    for s in range(last - 1, -1, -1):
        best, t_best = math.inf, last
        for t in range(min(s + least, last), last + 1):
            undetected = (t - s) * grid * alive[s] - (inside[t] - inside[s])
            cost = undetected + value[t]
            if cost < best:
                best, t_best = cost, t
            elif undetected > best:  # it only grows from here
                break
        value[s] = best + price * alive[s]
        lag[s] = (t_best - s) * grid * alive[s] - (inside[t_best] - inside[s]) + lag[t_best]
        polls[s] = alive[s] + polls[t_best]
    return lag[0] + MEAN_ROUND_TRIP_SECONDS / 2, polls[0]

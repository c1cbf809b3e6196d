"""A discrete-event simulation of a client that polls: the library's schedules, without HTTP."""

from __future__ import annotations

import heapq
import math
import random
from bisect import bisect_left
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.schedule.workloads import LAW, QUEUE, Workload, percentage
from ideogram_async._models import SamplingRequest
from ideogram_async._schedules.base import Observation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.schedule.workloads import SimulatedJob
    from ideogram_async._schedules.base import Schedule

_EPOCH = 1.7e9
_MEAN_TRIP = 0.175


class Outcome(msgspec.Struct, frozen=True):
    """What a schedule cost, per job: its queries, and its lag in seconds."""

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
        """Lag and queries, as the curves have them."""
        return self.mean_lag, self.mean_polls

    def percentile(self, share: float) -> float:
        """Give a quantile of the lag."""
        return sorted(self.lags)[int(share * len(self.lags))]


def trip(rng: random.Random) -> float:
    """Draw a round trip; the gateway looks half-way through it."""
    return rng.uniform(0.05, 0.30)


class _Simulation:
    """Every query of every job, in the order of its answers."""

    def __init__(self, schedule: Schedule[Any], work: Workload, progress: str) -> None:
        self.schedule, self.work, self.progress = schedule, work, progress
        self.rng = random.Random(f"{work.name} {work.seed} {progress}")
        self.answers: list[tuple[float, int, float, float]] = []
        self.states: list[Any] = [None] * len(work.jobs)
        self.polls = [0] * len(work.jobs)
        self.lags = [0.0] * len(work.jobs)

    def run(self, taken: Sequence[float], *, just_submitted: bool, clock: float) -> Outcome:
        """Start each job when it is taken, and poll it to its end; `clock` is the error of one."""
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
        round_trip = trip(self.rng)
        heapq.heappush(self.answers, (asked + round_trip, i, asked, asked + round_trip / 2))

    def _answer(self, answered: float, i: int, asked: float, looked: float, clock: float) -> None:
        job, state = self.work.jobs[i], self.states[i]
        self.polls[i] += 1
        record = self._record(job, looked, clock)
        date = float(int(_EPOCH + answered))
        seen = Observation(asked, answered, 0.0, record, date)
        if record.completion_percentage == 100:
            self.schedule.completed(state, seen)
            self.lags[i] = answered - job.end
            self.states[i] = None
        else:
            self._ask(i, answered + self.schedule.next_delay(state, seen))

    def _record(self, job: SimulatedJob, looked: float, clock: float) -> SamplingRequest:
        kind = job.progress if self.progress == "mix" else self.progress
        told: int | None = None
        started: bool | None = None
        if looked >= job.end:
            told = 100
        elif kind != "absent":
            started = looked >= job.started
            told = percentage(kind, job, looked - job.started, self.rng) if started else 0
        return SamplingRequest(
            completion_percentage=told,
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
    """Poll every job to its end; `resumed` gives the ages at which old ones are taken up."""
    taken = [job.submitted for job in work.jobs]
    if resumed is not None:
        taken = [at + age for at, age in zip(taken, resumed, strict=True)]
    simulation = _Simulation(schedule, work, progress)
    return simulation.run(taken, just_submitted=resumed is None, clock=clock)


def poll_blindly(work: Workload, delay: Callable[[int, random.Random], float]) -> Outcome:
    """Poll with delays that depend on nothing but the number of queries so far."""
    rng = random.Random(f"blind {work.name} {work.seed}")
    polls, lags = [], []
    for job in work.jobs:
        left = job.queue + job.run
        n = 0
        while True:
            round_trip = trip(rng)
            left -= delay(n, rng) + round_trip
            n += 1
            if left <= -round_trip / 2:
                break
        polls.append(n)
        lags.append(-left)
    return Outcome(polls, lags)


class Curve:
    """Queries against lag, through measured points: a straight line between logarithms."""

    def __init__(self, points: Iterable[tuple[float, float]]) -> None:
        self.points = sorted(points)
        self._x = [math.log(lag) for lag, _ in self.points]
        self._y = [math.log(polls) for _, polls in self.points]

    @property
    def lags(self) -> tuple[float, float]:
        """The shortest and the longest lag that was measured."""
        return self.points[0][0], self.points[-1][0]

    def polls(self, lag: float) -> float:
        """Give the queries per request at a mean lag."""
        x = math.log(lag)
        i = min(max(bisect_left(self._x, x), 1), len(self._x) - 1)
        share = (x - self._x[i - 1]) / (self._x[i] - self._x[i - 1])
        return math.exp(self._y[i - 1] + share * (self._y[i] - self._y[i - 1]))


def optimum(name: str, prices: Sequence[float]) -> Curve:
    """Give the Barlow-Proschan bound: the best schedule for the workload's true law, no progress.

    By dynamic programming on a grid of times at which the gateway looks: with F̄ the share of jobs
    that last longer, V(s) = min over t of price·F̄(s) + E[(t - T)+; T > s] + V(t), and t at least
    a mean round trip after s.
    """
    grid = LAW[name][0] / 150
    alive, inside = _law(name, grid)
    return Curve(_plan(alive, inside, grid, price) for price in prices)


def _law(name: str, grid: float) -> tuple[list[float], list[float]]:
    """Give F̄ and its integral on the grid: a lognormal run behind an exponential queue.

    F̄' = -(F̄ - F̄_run)/queue, for a sum with an exponential; stepped exactly for F̄_run constant.
    """
    median, sigma = LAW[name]
    size = int(median * math.exp(4.5 * sigma) / grid)
    keep = math.exp(-grid / QUEUE)
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
    """Solve for one price, backwards; give the mean lag and the queries of the best schedule."""
    last, least = len(alive) - 1, math.ceil(_MEAN_TRIP / grid)
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
    return lag[0] + _MEAN_TRIP / 2, polls[0]

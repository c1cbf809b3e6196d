"""An optimistic reference on linear progress: it is told more than an answer tells.

A dynamic program on interval beliefs; it is no proven bound. It knows the laws of the jobs, and:

1. From the first answer after a job's start on, it knows when the job began.
2. A percentage bounds the end of a job that runs T seconds to an interval. Where a share s is done,
   it is 2·(NOISE + ½)·T/s percent wide; the second answer and all later ones are as good as one at
   100 %. Within the interval the end is uniform.
3. An interval lies within the last one, and answers may follow each other without a round trip.

For an interval of the width w, with the price c and the width d of later intervals, the expected
cost is V(w) = min over u of c + u²/(2w) + (1 - u/w)·V(min(w - u, d)): a query u seconds after the
interval's beginning finds the end with the probability u/w, u/2 seconds late.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import NamedTuple

from benchmarks.schedule.informed import NOISE
from benchmarks.schedule.simulation import MEAN_ROUND_TRIP_SECONDS
from benchmarks.schedule.workloads import DURATION_LAW, MEAN_QUEUE_SECONDS

BEGINNINGS, RUNS, LOOKS, STEPS = 20, 20, 60, 30
"""Points of the queue's law, of the run's, of the first query's time, and of an interval."""


class Cost(NamedTuple):
    """What is expected of a belief: seconds of lag, and queries."""

    lag: float
    polls: float


def plan(name: str, price: float) -> tuple[float, float]:
    """Return the mean lag and the queries of one job.

    While a job has not started, each query finds the same as the first: with p the probability that
    it has not started, and A what all else costs, the cost is the least (c + A)/(1 - p).
    """
    median, sigma = DURATION_LAW[name]
    normal = NormalDist(math.log(median), sigma)
    runs = [_Run(math.exp(normal.inv_cdf((i + 0.5) / RUNS)), price) for i in range(RUNS)]
    best, found = math.inf, Cost(0.0, 0.0)
    for look in range(1, LOOKS + 1):
        at = 2 * median * look / LOOKS
        lag, polls, waiting = _first_look(runs, at)
        cost = Cost(lag / (1 - waiting), (1 + polls) / (1 - waiting))
        if cost.lag + price * cost.polls < best:
            best, found = cost.lag + price * cost.polls, cost
    return found.lag + MEAN_ROUND_TRIP_SECONDS / 2, found.polls


def _first_look(runs: list[_Run], at: float) -> tuple[float, float, float]:
    """Return lag and queries after a first one, and the chance that it comes before a start."""
    waiting, weight = math.exp(-at / MEAN_QUEUE_SECONDS), 1 / (BEGINNINGS * len(runs))
    lag = polls = 0.0
    for i in range(BEGINNINGS):
        share = (1 - waiting) * (i + 0.5) / BEGINNINGS
        ran = at + MEAN_QUEUE_SECONDS * math.log(1 - share)
        for run in runs:
            late = ran - run.seconds
            cost = Cost(late, 0.0) if late >= 0 else run.started(ran)
            lag += (1 - waiting) * weight * cost.lag
            polls += (1 - waiting) * weight * cost.polls
    return lag, polls, waiting


class _Run:
    """The best costs of jobs that run so long, by the width of the interval of their end."""

    def __init__(self, seconds: float, price: float) -> None:
        self.seconds, self._price = seconds, price
        self._narrow = 2 * (NOISE + 0.5) / 100 * seconds
        self._costs = [Cost(0.0, 1.0)]
        for i in range(1, STEPS + 1):
            self._costs.append(self._best(self._narrow * i / STEPS, range(1, i + 1)))

    def started(self, ran: float) -> Cost:
        """Return the cost after the first answer of a job that has run so long."""
        return self._best(self._narrow * self.seconds / ran, range(STEPS + 1))

    def _best(self, width: float, steps: range) -> Cost:
        """Return the least cost of an interval: the steps are counted from its end, backwards.

        A wide one may also be queried further from its end: at V(d) from its beginning, at best.
        """
        passed = [width - self._narrow * (step / STEPS) for step in steps]
        rest = [*steps]
        if len(self._costs) <= STEPS:  # a narrow one: what is left of it has been solved
            passed = [self._narrow * step / STEPS for step in steps]
            rest = [steps[-1] - step for step in steps]
        elif width > self._narrow:
            known = self._costs[STEPS]
            passed.append(min(known.lag + self._price * known.polls, width - self._narrow))
            rest.append(STEPS)
        options = []
        for u, left in zip(passed, rest, strict=True):
            share, after = 1 - u / width, self._costs[left]
            if 0 <= share <= 1:
                options.append(
                    Cost(u * u / (2 * width) + share * after.lag, 1 + share * after.polls)
                )
        return min(options, key=lambda cost: cost.lag + self._price * cost.polls)

"""A policy that knows the laws of the jobs and of their progress, by which the schedule is judged.

It has the schedule's own rule: query again once the expected lag is worth the price of a query. But
it knows how long jobs wait and run, and how far a percentage is off, and weighs by them all that
was answered. So it shows what the estimate costs, and not the rule.
"""

from __future__ import annotations

import math
import random
from statistics import NormalDist
from typing import TYPE_CHECKING

from benchmarks.schedule.simulation import MEAN_ROUND_TRIP_SECONDS, Outcome, round_trip
from benchmarks.schedule.workloads import DURATION_LAW, MEAN_QUEUE_SECONDS, percentage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.schedule.workloads import SimulatedJob, Workload

BEGINNINGS, RUNS = 40, 12
"""Points per unknown."""
PRICE_SHARE = 0.5
"""Of the price of a query, for which the policy makes one: the rest is worth what it shows. With
half or with 0.7 of it the cost was least, with all of it a tenth higher."""
NOISE = 2.0
"""A percentage is off by up to so many points, uniformly, and then rounded."""
LEAST_DELAY = 0.05


def poll_informed(work: Workload, price: float) -> Outcome:
    """Poll jobs of one kind that show linear progress, each by what is known of it."""
    rng = random.Random(f"informed {work.name} {work.seed}")
    law = DURATION_LAW[work.name]
    first = list(_unstarted(law))
    polls, lags = [], []
    for job in work.jobs:
        n, lag = _poll(job, law, first, price, rng)
        polls.append(n)
        lags.append(lag)
    return Outcome(polls, lags)


def _poll(
    job: SimulatedJob,
    law: tuple[float, float],
    first: Sequence[tuple[float, float]],
    price: float,
    rng: random.Random,
) -> tuple[int, float]:
    """Poll one job; return the queries and the lag. Times count from its submission."""
    polls, waited = 0, 0.0
    answers: list[tuple[float, int]] = []
    asked = _worth(first, PRICE_SHARE * price)
    while True:
        polls += 1
        trip = round_trip(rng)
        read, answered = asked + trip / 2, asked + trip
        if read >= job.queue + job.run:
            return polls, answered - job.queue - job.run
        if read < job.queue:
            waited = read
            ends = [(end + read, weight) for end, weight in first]
        else:
            answers.append((read, percentage("linear", job, read - job.queue, rng) or 0))
            ends = list(_started(law, waited, answers))
        asked = max(_worth(ends, PRICE_SHARE * price), answered + LEAST_DELAY)


def _worth(ends: Sequence[tuple[float, float]], price: float) -> float:
    """Return when to query: the expected lag of what is read then is worth the price."""
    ends = sorted(ends)
    left = price * sum(weight for _, weight in ends)
    passed, lag, at = 0.0, 0.0, ends[0][0]
    for end, weight in ends:
        grown = lag + passed * (end - at)
        if grown >= left:
            break
        passed, lag, at = passed + weight, grown, end
    return at + (left - lag) / passed - MEAN_ROUND_TRIP_SECONDS / 2


def _unstarted(law: tuple[float, float]) -> Iterator[tuple[float, float]]:
    """Yield the ends of a job that has just been submitted, or waits, with their weights."""
    median, sigma = law
    normal = NormalDist(math.log(median), sigma)
    for i in range(BEGINNINGS):
        wait = -MEAN_QUEUE_SECONDS * math.log(1 - (i + 0.5) / BEGINNINGS)
        for j in range(BEGINNINGS):
            yield wait + math.exp(normal.inv_cdf((j + 0.5) / BEGINNINGS)), 1.0


def _started(
    law: tuple[float, float], waited: float, answers: Sequence[tuple[float, int]]
) -> Iterator[tuple[float, float]]:
    """Yield the ends that the answers allow, with their weights.

    For each beginning between the last moment without a start and the first with one, all answers
    together bound the run: the points lie within.
    """
    read, widest = answers[-1][0], math.exp(4.5 * law[1])
    span = answers[0][0] - waited
    for i in range(BEGINNINGS):
        place = (i + 0.5) / BEGINNINGS  # denser where a percentage says most of the pace
        begun = answers[0][0] - span * place * place
        prior = place * math.exp(-(begun - waited) / MEAN_QUEUE_SECONDS)
        least, most = max(read - begun, law[0] / widest), law[0] * widest
        for at, told in answers:
            low, high = _shares(told)
            least, most = max(least, (at - begun) / high), min(most, (at - begun) / low)
        for j in range(RUNS if least < most else 0):
            run = least * (most / least) ** ((j + 0.5) / RUNS)
            weight = prior * _density(run, law) * run * math.log(most / least)
            for at, told in answers:
                weight *= _likelihood(told, 100 * (at - begun) / run)
            yield begun + run, weight
    yield read + 1.0, 1e-300  # where nothing is left of the grid


def _shares(told: int) -> tuple[float, float]:
    """Return the least and the largest share that is shown as a percentage."""
    low = max(told - NOISE - 0.5, 0.01) / 100
    return low, 1.0 if told >= 99 else (told + NOISE + 0.5) / 100


def _density(run: float, law: tuple[float, float]) -> float:
    """Return the density of a run, up to a factor."""
    median, sigma = law
    z = math.log(run / median) / sigma
    return math.exp(-z * z / 2) / run


def _likelihood(told: int, real: float) -> float:
    """Return the probability of a percentage, up to a factor."""
    low = -math.inf if told <= 0 else told - 0.5
    high = math.inf if told >= 99 else told + 0.5
    return max(min(high, real + NOISE) - max(low, real - NOISE), 0.0)

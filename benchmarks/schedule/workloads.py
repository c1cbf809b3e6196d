"""The jobs that the schedules are measured on, and what gateways tell of their progress."""

from __future__ import annotations

import math
import random

import msgspec

PROGRESS = ("absent", "linear", "steps", "stuck at 99", "lying", "mix")
WORKLOADS = {
    "A": "turbo, median 5 s, sigma 0.3, queue 2 s",
    "B": "default, median 14 s, sigma 0.4, queue 2 s",
    "C": "quality, median 30 s, sigma 0.5, queue 2 s",
    "D": "A, B and C mixed",
    "E": "overload: B behind a queue that swells from 2 s to a minute and back",
}
SPEED = {"A": 2, "B": 0, "C": -2}
LAW = {"A": (5.0, 0.3), "B": (14.0, 0.4), "C": (30.0, 0.5)}
QUEUE = 2.0
_SWELL = 5000.0


class Workload(msgspec.Struct, frozen=True):
    """A named stream of jobs, one a second on average."""

    name: str
    seed: int
    jobs: tuple[SimulatedJob, ...]


class SimulatedJob(msgspec.Struct, frozen=True, gc=False):
    """One image request, as it really goes."""

    submitted: float
    queue: float
    run: float
    speed: int
    progress: str
    """What the gateway tells of it in the mixed kind."""
    quirk: float
    """Uniform: how far its progress misleads."""

    @property
    def started(self) -> float:
        """When it leaves the queue."""
        return self.submitted + self.queue

    @property
    def end(self) -> float:
        """When it is complete."""
        return self.submitted + self.queue + self.run


def workload(name: str, seed: int, n: int) -> Workload:
    """Draw n jobs of one of the workloads A to E."""
    rng = random.Random(f"{name} {seed}")
    at, jobs = 1000.0, []
    for _ in range(n):
        at += rng.expovariate(1.0)
        jobs.append(_job(name, at, rng))
    return Workload(name, seed, tuple(jobs))


def _job(name: str, at: float, rng: random.Random) -> SimulatedJob:
    kind = rng.choice("ABC") if name == "D" else "B" if name == "E" else name
    queue = QUEUE
    if name == "E":
        queue += 29.0 * (1 - math.cos(2 * math.pi * at / _SWELL))
    median, sigma = LAW[kind]
    return SimulatedJob(
        submitted=at,
        queue=rng.expovariate(1 / queue),
        run=rng.lognormvariate(math.log(median), sigma),
        speed=SPEED[kind],
        progress=rng.choice(PROGRESS[:-1]),
        quirk=rng.random(),
    )


def percentage(kind: str, job: SimulatedJob, ran: float, rng: random.Random) -> int | None:
    """Give the percentage told of a job that started `ran` seconds ago; None where none is told."""
    share = ran / job.run
    match kind:
        case "linear":  # ±2 points: captured progress strays from a line by as much
            told = round(100 * share + rng.uniform(-2.0, 2.0))
        case "steps":
            told = 25 * int(4 * share)
        case "stuck at 99":  # captured upscales got there after 0.23 and 0.44 of their time
            told = int(100 * share / (0.2 + 0.5 * job.quirk))
        case "lying":  # at a speed that has nothing to do with the job
            told = int(100 * ran / (2.0 + 28.0 * job.quirk))
        case _:
            return None
    return min(max(told, 0), 99)

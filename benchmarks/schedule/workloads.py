"""The jobs with which the schedules are measured, and the progress that gateways show of them."""

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
    "E": "overload: B behind a queue that grows from 2 s to a minute and back",
}
SAMPLING_SPEED = {"A": 2, "B": 0, "C": -2}
DURATION_LAW = {"A": (5.0, 0.3), "B": (14.0, 0.4), "C": (30.0, 0.5)}
"""The median (seconds) and the sigma of the lognormal time that a job runs."""
MEAN_QUEUE_SECONDS = 2.0
OVERLOAD_PERIOD_SECONDS = 5000.0


class Workload(msgspec.Struct, frozen=True):
    """A named stream of jobs, one per second on average."""

    name: str
    seed: int
    jobs: tuple[SimulatedJob, ...]


class SimulatedJob(msgspec.Struct, frozen=True, gc=False):
    """One image request; all times in seconds."""

    submitted: float
    queue: float
    run: float
    speed: int
    progress: str
    """The kind of progress that the gateway shows of it where kinds are mixed."""
    quirk: float
    """Uniform in 0 to 1: how far its progress misleads."""

    @property
    def started(self) -> float:
        """The time at which it leaves the queue."""
        return self.submitted + self.queue

    @property
    def end(self) -> float:
        """The time at which it is complete."""
        return self.submitted + self.queue + self.run


def workload(name: str, seed: int, n: int) -> Workload:
    """Return n random jobs of one of the workloads A to E."""
    rng = random.Random(f"{name} {seed}")
    at, jobs = 1000.0, []
    for _ in range(n):
        at += rng.expovariate(1.0)
        jobs.append(_job(name, at, rng))
    return Workload(name, seed, tuple(jobs))


def overload_queue(at: float) -> float:
    """Return the mean seconds in the queue of a job that is submitted at a moment of workload E."""
    wave = 1 - math.cos(2 * math.pi * at / OVERLOAD_PERIOD_SECONDS)
    return MEAN_QUEUE_SECONDS + 29.0 * wave


def _job(name: str, at: float, rng: random.Random) -> SimulatedJob:
    kind = rng.choice("ABC") if name == "D" else "B" if name == "E" else name
    queue = overload_queue(at) if name == "E" else MEAN_QUEUE_SECONDS
    median, sigma = DURATION_LAW[kind]
    return SimulatedJob(
        submitted=at,
        queue=rng.expovariate(1 / queue),
        run=rng.lognormvariate(math.log(median), sigma),
        speed=SAMPLING_SPEED[kind],
        progress=rng.choice(PROGRESS[:-1]),
        quirk=rng.random(),
    )


def percentage(kind: str, job: SimulatedJob, ran: float, rng: random.Random) -> int | None:
    """Return the percentage shown of a job that has run `ran` seconds; None where none is shown."""
    share = ran / job.run
    match kind:
        case "linear":  # captured progress differs from a line by up to 2 points
            shown = round(100 * share + rng.uniform(-2.0, 2.0))
        case "steps":
            shown = 25 * int(4 * share)
        case "stuck at 99":  # captured upscales reached 99 after 0.23 and 0.44 of their time
            shown = int(100 * share / (0.2 + 0.5 * job.quirk))
        case "lying":  # at a speed that is independent of the job
            shown = int(100 * ran / (2.0 + 28.0 * job.quirk))
        case _:
            return None
    return min(max(shown, 0), 99)

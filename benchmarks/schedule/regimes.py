"""What a sudden change of the jobs costs a schedule that has learned what they were like.

It was trained on linear progress. Then the progress, or the time that jobs take, changes; jobs come
one every ten seconds, so that each may profit from those before it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from benchmarks.schedule.simulation import simulate
from benchmarks.schedule.workloads import Workload, workload
from ideogram_async._schedules.adaptive import AdaptiveSchedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ideogram_async._schedules.learned import Learned

PRICE = 0.05
TRAINED, TRAINING_JOBS, REPEATED = 12, 400, 60
FIRST_JOBS, LATER_JOBS = 20, 100
APART_SECONDS = 10.0
CHANGES: dict[str, tuple[str, float]] = {
    "lying": ("lying", 1.0),
    "steps": ("steps", 1.0),
    "stuck at 99": ("stuck at 99", 1.0),
    "absent": ("absent", 1.0),
    "3 x slower": ("linear", 3.0),
    "3 x faster": ("linear", 1 / 3),
}
"""The progress that jobs show after each change, and by what their run is multiplied."""

SEED = 21
WITHOUT_LINES: dict[str, dict[str, tuple[float, float]]] = {
    "lying": {"A": (1.280, 1.101), "B": (2.039, 1.557), "C": (2.062, 1.784)},
    "steps": {"A": (0.699, 0.595), "B": (1.366, 0.910), "C": (2.545, 1.356)},
    "stuck at 99": {"A": (0.706, 0.679), "B": (1.187, 1.083), "C": (1.757, 1.626)},
    "absent": {"A": (0.741, 0.745), "B": (1.114, 1.125), "C": (1.704, 1.700)},
    "3 x slower": {"A": (0.760, 0.666), "B": (0.846, 0.779), "C": (0.994, 0.954)},
    "3 x faster": {"A": (0.757, 0.425), "B": (0.947, 0.468), "C": (1.120, 0.528)},
}
"""The same figures, by change and workload, of the schedule as it was before it followed lines."""


def costs(name: str, seed: int = SEED) -> dict[str, tuple[float, float]]:
    """Return what a job costs after each change: J = lag + price x queries, in seconds.

    The first figure is for the jobs just after the change, the second for later ones.
    """
    learned = []
    for place in range(TRAINED):
        schedule = AdaptiveSchedule(PRICE)
        simulate(schedule, workload(name, 1000 * seed + place, TRAINING_JOBS), "linear")
        learned.append(schedule.save())
    return {
        change: _cost([_changed(name, 1000 * seed + i, change) for i in range(REPEATED)], learned)
        for change in CHANGES
    }


def _changed(name: str, seed: int, change: str) -> Workload:
    progress, factor = CHANGES[change]
    work = workload(name, 500_000 + seed, FIRST_JOBS + LATER_JOBS)
    jobs = (
        msgspec.structs.replace(
            job, submitted=1000 + APART_SECONDS * i, run=factor * job.run, progress=progress
        )
        for i, job in enumerate(work.jobs)
    )
    return Workload(name, work.seed, tuple(jobs))


def _cost(works: Sequence[Workload], learned: Sequence[Learned]) -> tuple[float, float]:
    first = later = 0.0
    for i, work in enumerate(works):
        schedule = AdaptiveSchedule(PRICE, learned=learned[i % len(learned)])
        cost = simulate(schedule, work, "mix")
        each = [lag + PRICE * n for lag, n in zip(cost.lags, cost.polls, strict=True)]
        first += sum(each[:FIRST_JOBS]) / FIRST_JOBS / len(works)
        later += sum(each[FIRST_JOBS:]) / LATER_JOBS / len(works)
    return first, later

"""What the shards learn of how long requests take: each completion is a sample for all of them."""

from __future__ import annotations

from collections import deque
from typing import Any

from ideogram_async import AdaptiveSchedule, CompletionSample, Schedule

SAMPLES_KEPT = 64
"""Samples kept for other shards. A schedule forgets at that rate: more would teach it no more."""


def recorded(schedule: Schedule[Any]) -> deque[CompletionSample]:
    """Return a queue that gets what each completion teaches a schedule, if it learns."""
    samples: deque[CompletionSample] = deque(maxlen=SAMPLES_KEPT)
    if isinstance(schedule, AdaptiveSchedule):
        schedule.on_sample = samples.append
    return samples


def learn(schedule: Schedule[Any], samples: list[CompletionSample]) -> None:
    """Teach a schedule, if it learns, what others have seen."""
    if isinstance(schedule, AdaptiveSchedule):
        for sample in samples:
            schedule.learn(sample)


def copied(schedule: Schedule[Any]) -> Schedule[Any]:
    """Return a schedule for a shard, with all that this one has learned."""
    if isinstance(schedule, AdaptiveSchedule):
        return AdaptiveSchedule(schedule.price, learned=schedule.save())
    return schedule

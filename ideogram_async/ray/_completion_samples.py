"""What the shards learn of how long requests take: each completion is a sample for all of them."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from ideogram_async import AdaptiveSchedule, Observation, SamplingRequest, Schedule

CompletionSample: TypeAlias = "tuple[Any, Observation]"
"""The schedule's state of a request that has completed, and the observation that showed it."""

SAMPLES_KEPT = 64
"""Samples kept for other shards. A schedule forgets at that rate: more would teach it no more."""


class RecordingSchedule:
    """A schedule that also keeps a sample of each completion, for other shards."""

    def __init__(self, own: Schedule[Any]) -> None:
        self.own = own
        self.start = own.start
        self.next_delay = own.next_delay
        self.expected_end = own.expected_end
        self.is_sure: Any = getattr(own, "is_sure", None)
        self._samples: deque[CompletionSample] = deque(maxlen=SAMPLES_KEPT)

    def completed(self, state: Any, seen: Observation) -> None:
        """Learn from a completion, and keep it as a sample."""
        self.own.completed(state, seen)
        self._samples.append((state, _without_record(seen)))

    def take_samples(self) -> list[CompletionSample]:
        """Return the samples since the last call."""
        samples = list(self._samples)
        self._samples.clear()
        return samples


def learn(schedule: Schedule[Any], samples: list[CompletionSample]) -> None:
    """Pass other shards' samples to a schedule, which reads differences of their clocks only."""
    for state, seen in samples:
        schedule.completed(state, seen)


def copied(schedule: Schedule[Any]) -> Schedule[Any]:
    """Return a schedule for a shard, with all that this one has learned."""
    if isinstance(schedule, AdaptiveSchedule):
        return AdaptiveSchedule(schedule.price, learned=schedule.save())
    return schedule


def _without_record(seen: Observation) -> Observation:
    """Return the observation with a record that holds the request's kind alone."""
    record = SamplingRequest(
        model_version=seen.record.model_version,
        request_type=seen.record.request_type,
        sampling_speed=seen.record.sampling_speed,
    )
    return Observation(seen.asked, seen.answered, seen.late, record, seen.server_time)

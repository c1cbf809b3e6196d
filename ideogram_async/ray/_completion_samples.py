"""What one shard learns of the requests is learned by all: completions travel as lessons."""

from __future__ import annotations

from collections import deque
from typing import Any, TypeAlias

from ideogram_async import AdaptiveSchedule, Observation, SamplingRequest, Schedule

CompletionSample: TypeAlias = "tuple[Any, Observation]"
"""The state of a request that has completed, and what showed it."""

MOST = 64
"""Lessons kept for the others: what is learned forgets at that rate, so more would tell no more."""


class RecordingSchedule:
    """A schedule that keeps what it was taught, and can be taught what another one was."""

    def __init__(self, own: Schedule[Any]) -> None:
        self.own = own
        self.start = own.start
        self.next_delay = own.next_delay
        self.expected_end = own.expected_end
        self._lessons: deque[CompletionSample] = deque(maxlen=MOST)

    def completed(self, state: Any, seen: Observation) -> None:
        """Learn from a completion, and keep it."""
        self.own.completed(state, seen)
        self._lessons.append((state, _slim(seen)))

    def lessons(self) -> list[CompletionSample]:
        """Give what was kept, once."""
        kept = list(self._lessons)
        self._lessons.clear()
        return kept


def learn(schedule: Schedule[Any], lessons: list[CompletionSample]) -> None:
    """Teach a schedule what others have seen: only differences of their clocks matter to it."""
    for state, seen in lessons:
        schedule.completed(state, seen)


def copied(schedule: Schedule[Any]) -> Schedule[Any]:
    """Give a schedule that knows what this one knows, to be sent to a shard."""
    if isinstance(schedule, AdaptiveSchedule):
        return AdaptiveSchedule(schedule.price, learned=schedule.save())
    return schedule


def _slim(seen: Observation) -> Observation:
    """Leave out of a record all but its kind."""
    record = SamplingRequest(
        model_version=seen.record.model_version,
        request_type=seen.record.request_type,
        sampling_speed=seen.record.sampling_speed,
    )
    return Observation(seen.asked, seen.answered, seen.late, record, seen.server_time)

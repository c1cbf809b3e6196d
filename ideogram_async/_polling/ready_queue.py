"""Jobs that may be asked now, by the moment by which they should be."""

from __future__ import annotations

import heapq
import math
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from operator import attrgetter

from ideogram_async._polling.job import Job

COUNTED = 500
"""Jobs of a heap that are looked at to count."""
_order = attrgetter("order")


class ReadyQueue:
    """The job whose `order` is least comes first.

    Most jobs come in that order, and wait in a deque, whose cost does not grow with its length; the
    others stand in a heap beside it.
    """

    def __init__(self) -> None:
        self.first: float = math.inf
        """The `order` of the first, inf where there is none."""
        self._queue: deque[Job] = deque()
        self._heap: list[Job] = []

    def __iter__(self) -> Iterator[Job]:
        yield from self._queue
        yield from self._heap

    def __len__(self) -> int:
        return len(self._queue) + len(self._heap)

    def __getitem__(self, place: int) -> Job:
        """Return the job at a place, in no order that matters."""
        queued = len(self._queue)
        return self._queue[place] if place < queued else self._heap[place - queued]

    def count_due(self, by: float) -> int:
        """Return how many should be asked by a moment: of a large heap, an estimate."""
        due = bisect_right(self._queue, by, key=_order)
        step = len(self._heap) // COUNTED + 1
        return due + step * sum(job.order <= by for job in self._heap[::step])

    def parts(self) -> tuple[deque[Job], list[Job]]:
        """Return what it is made of, to be taken apart."""
        return self._queue, self._heap

    def add(self, job: Job) -> None:
        """Add a job at the place that its order says."""
        order, queue = job.order, self._queue
        if queue and order < queue[-1].order:
            heapq.heappush(self._heap, job)
        else:
            queue.append(job)
        if order < self.first:  # noqa: PLR1730 - run for each query: no `min`
            self.first = order

    def pop(self) -> Job:
        """Remove and return the first."""
        queue, heap = self._queue, self._heap
        if heap and (not queue or heap[0].order < queue[0].order):
            job = heapq.heappop(heap)
        else:
            job = queue.popleft()
        self.first = queue[0].order if queue else math.inf
        if heap and heap[0].order < self.first:
            self.first = heap[0].order
        return job

    def pop_at(self, place: int) -> Job:
        """Remove and return the job at a place: for the few that are probes."""
        queue, heap = self._queue, self._heap
        if place < len(queue):
            job = queue[place]
            del queue[place]
        else:
            job = heap.pop(place - len(queue))
            heapq.heapify(heap)
        self.first = min(queue[0].order if queue else math.inf, heap[0].order if heap else math.inf)
        return job

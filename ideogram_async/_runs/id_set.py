"""The ids that a run has taken in: up to millions, and none of it may stall the loop."""

from __future__ import annotations

from collections.abc import Iterator


class IdSet:
    """A set of ids, kept in three dicts.

    A full garbage collection visits each item of a `set`; it skips a dict of strings and None. In
    three parts, each grows and is cleared in shorter steps. Three is no power of two, so that none
    of them grows at the same moment as the table of all jobs, which doubles.
    """

    def __init__(self) -> None:
        self._parts: tuple[dict[object, None], ...] = ({}, {}, {})

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(map(len, self._parts))

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._parts[hash(request_id) % 3]

    def add(self, request_id: object) -> bool:
        """Add an id; return whether it is new."""
        part = self._parts[hash(request_id) % 3]
        if request_id in part:
            return False
        part[request_id] = None
        return True

    def clear(self) -> Iterator[None]:
        """Remove all ids, a part in each step of the iterator."""
        for part in self._parts:
            part.clear()
            yield

    def discard(self, request_id: object) -> None:
        """Remove an id, if it is there."""
        self._parts[hash(request_id) % 3].pop(request_id, None)

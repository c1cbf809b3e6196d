"""The ids that a run has met: up to millions, and none of it may stall the loop."""

from __future__ import annotations

from collections.abc import Iterator


class IdSet:
    """A set of ids.

    A real one is walked through by each full garbage collection, a dict of strings and None never
    is. It is in parts so that each grows and is cleared by less at once, and in three of them so
    that none grows when the table of all jobs does, for tables grow at powers of two.
    """

    __slots__ = ("_parts", "count")

    def __init__(self) -> None:
        self.count: int = 0
        self._parts: tuple[dict[object, None], ...] = ({}, {}, {})

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._parts[hash(request_id) % 3]

    def add(self, request_id: object) -> bool:
        """Take one in; tell whether it is new."""
        part = self._parts[hash(request_id) % 3]
        if request_id in part:
            return False
        part[request_id] = None
        self.count += 1
        return True

    def clear(self) -> Iterator[None]:
        """Forget all, by portions."""
        self.count = 0
        for part in self._parts:
            part.clear()
            yield

    def discard(self, request_id: object) -> None:
        """Forget one."""
        part = self._parts[hash(request_id) % 3]
        if request_id in part:
            del part[request_id]
            self.count -= 1

"""The ids that a run has met: up to millions, and none of it may stall the loop."""

from __future__ import annotations

from collections.abc import Iterator


class Seen:
    """A set of ids.

    A real one is walked through by each full garbage collection, a dict of strings and None never
    is. It is in parts so that each grows and is cleared by less at once, and in three of them so
    that none grows when the table of all jobs does, for tables grow at powers of two.
    """

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: tuple[dict[object, None], ...] = ({}, {}, {})

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, request_id: object) -> bool:
        return request_id in self._parts[hash(request_id) % 3]

    def add(self, request_id: object) -> bool:
        """Take one in; tell whether it is new."""
        part = self._parts[hash(request_id) % 3]
        known = len(part)
        part[request_id] = None
        return len(part) > known

    def clear(self) -> Iterator[None]:
        """Forget all, by portions."""
        for part in self._parts:
            part.clear()
            yield

    def discard(self, request_id: object) -> None:
        """Forget one."""
        self._parts[hash(request_id) % 3].pop(request_id, None)

"""Faults in line for queries to come."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from ._queries import Query
    from ._replies import Fault

__all__ = ["Script"]


class _Line(msgspec.Struct):
    fault: Fault
    times: float
    request_id: str | None
    key: str | None

    def meets(self, query: Query) -> bool:
        return self.request_id in (None, query.request_id) and self.key in (
            None,
            query.token,
            query.access_token,
        )


class Script:
    """The faults that queries will meet, first come first served."""

    def __init__(self) -> None:
        self._lines: list[_Line] = []

    def add(self, fault: Fault, times: float, request_id: str | None, key: str | None) -> None:
        """Put a fault in line."""
        self._lines.append(_Line(fault, times, request_id, key))

    def clear(self) -> None:
        """Forget what is in line."""
        self._lines.clear()

    def take(self, query: Query) -> Fault | None:
        """Return the fault that a query meets, if any, and count it."""
        for line in self._lines:
            if line.meets(query):
                line.times -= 1
                if line.times <= 0:
                    self._lines.remove(line)
                return line.fault
        return None

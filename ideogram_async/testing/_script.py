"""The faults for the next queries."""

from __future__ import annotations

import msgspec

from ._queries import Query
from ._replies import Fault


class _ScriptedFault(msgspec.Struct):
    fault: Fault
    times: float
    request_id: str | None
    key: str | None

    def applies_to(self, query: Query) -> bool:
        return self.request_id in (None, query.request_id) and self.key in (
            None,
            query.token,
            query.access_token,
        )


class Script:
    """A line of faults. Each query takes the first that applies to it."""

    def __init__(self) -> None:
        self._line: list[_ScriptedFault] = []

    def add(self, fault: Fault, times: float, request_id: str | None, key: str | None) -> None:
        """Append a fault, for so many queries of the id and the key, if given."""
        if not times >= 1:
            raise ValueError(f"times is {times!r}: expected at least 1, or math.inf")
        self._line.append(_ScriptedFault(fault, times, request_id, key))

    def clear(self) -> None:
        """Remove all faults."""
        self._line.clear()

    def take(self, query: Query) -> Fault | None:
        """Return the fault for a query, or None, and count it down."""
        for scripted in self._line:
            if scripted.applies_to(query):
                scripted.times -= 1
                if scripted.times <= 0:
                    self._line.remove(scripted)
                return scripted.fault
        return None

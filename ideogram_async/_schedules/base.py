"""When to ask next: the protocol, and the fixed interval.

Nothing here reads a clock or sleeps. The engine tells what a query showed, and the schedule
answers with the seconds to wait.
"""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import msgspec

from ideogram_async._models import SamplingRequest

StateT = TypeVar("StateT")


class Observation(msgspec.Struct, frozen=True, gc=False):
    """What one query told of one request."""

    asked: float
    """When the query went out, seconds on the event loop's clock."""
    answered: float
    """When its answer was there, on the same clock."""
    late: float
    """Seconds that it went out after it was due: a full flight, a throttle, an outage."""
    record: SamplingRequest
    """The request's whole record, as answered."""
    server_time: float | None
    """The answer's `Date`, seconds of Unix time on the server's clock, to the second."""


class Schedule(Protocol[StateT]):
    """Decides when each request is asked next. One object serves all requests of a client.

    It is called in the event loop, once a query, so it must be quick and must not block. A delay
    that is not a finite number ≥ 0 fails the id with a clear error. After a fault (no answer,
    a throttle) the engine backs off by itself, and the schedule hears of the next good answer.
    """

    def start(self, now: float, *, just_submitted: bool) -> tuple[StateT, float]:
        """Take in a request: its state (any object, kept with it), and the first delay in seconds.

        `just_submitted` is the caller's word that it is fresh. Otherwise it is resumed: nobody
        here knows how long it has been running.
        """
        ...

    def next_delay(self, state: StateT, seen: Observation) -> float:
        """Give the seconds from `seen.answered` to the next query; the request is not complete."""
        ...

    def completed(self, state: StateT, seen: Observation) -> None:
        """Learn from the answer that showed completion; `state` is dropped after it."""
        ...

    def expected_end(self, state: StateT) -> float | None:
        """When the request is expected to be done, on the loop's clock, or None if unknown.

        Where the rate of queries is limited, those whose end has come are asked first.
        """
        ...


class FixedInterval:
    """Ask each request every `interval` seconds, whatever the answers say."""

    def __init__(self, interval: float = 2.0) -> None:
        if not 0 < interval < math.inf:
            raise ValueError(f"interval is {interval!r}: expected seconds > 0, and finite")
        self.interval = interval

    def __repr__(self) -> str:
        return f"FixedInterval({self.interval!r})"

    def start(self, now: float, *, just_submitted: bool) -> tuple[None, float]:  # noqa: ARG002 - the protocol's
        """Ask a resumed request at once, and a fresh one after the interval."""
        return None, self.interval if just_submitted else 0.0

    def next_delay(self, state: None, seen: Observation) -> float:  # noqa: ARG002 - the protocol's
        """Give the interval."""
        return self.interval

    def completed(self, state: None, seen: Observation) -> None:
        """Learn nothing."""

    def expected_end(self, state: None) -> None:
        """Expect nothing."""

"""When to query next: the protocol of a schedule, and the fixed interval.

A schedule does not read a clock and does not sleep. The client passes each answer to it, and it
returns the seconds until the next query.
"""

from __future__ import annotations

import math
from typing import Protocol, TypeVar

import msgspec

from ideogram_async._models import SamplingRequest

StateT = TypeVar("StateT")


class Observation(msgspec.Struct, frozen=True, gc=False):
    """The answer to one query, and its times."""

    asked: float
    """Time at which the query was sent: seconds on the event loop's clock."""
    answered: float
    """Time at which its answer was complete, on the same clock."""
    late: float
    """Seconds between the time at which the query was due and `asked`. Above 0 if it had to wait:
    for other queries in flight, for the rate limit, or for the end of an outage."""
    record: SamplingRequest
    """The request's record in the answer."""
    server_time: float | None
    """The answer's `Date` header: whole seconds of Unix time, on the server's clock."""


class Schedule(Protocol[StateT]):
    """Decides when each request is queried next. One object serves all requests of a client.

    It is called in the event loop, once per query, so it must be quick and must not block. A
    delay that is not finite and ≥ 0 fails the id with an error that shows the delay. After a fault
    (no answer, a throttle) the client backs off by itself; the schedule is called with the next
    good answer. For example, as `IdeogramClient(base_url, schedule=HalfOfWhatRemains())`::

        from ideogram_async import Observation


        class HalfOfWhatRemains:
            # Trusts the percentage, and never sleeps longer than 10 s.

            def start(self, now: float, *, just_submitted: bool) -> tuple[float, float]:
                return now, 2.0 if just_submitted else 0.0

            def next_delay(self, state: float, seen: Observation) -> float:
                done = seen.record.completion_percentage or 0
                if not 0 < done < 100:
                    return 2.0
                left = (seen.asked - state) * (100 - done) / done
                return min(max(left / 2, 0.2), 10.0)

            def completed(self, state: float, seen: Observation) -> None:
                pass

            def expected_end(self, state: float) -> float | None:
                return None
    """

    def start(self, now: float, *, just_submitted: bool) -> tuple[StateT, float]:
        """Return a new request's state (any object), and the seconds until its first query.

        The state is kept, and passed to the other methods. With `just_submitted` the caller says
        that the request is new. Without it the request's age is not known.
        """
        ...

    def next_delay(self, state: StateT, seen: Observation) -> float:
        """Return the seconds from `seen.answered` to the next query of an incomplete request."""
        ...

    def completed(self, state: StateT, seen: Observation) -> None:
        """Learn from the answer that showed completion. `state` is not used after it."""
        ...

    def expected_end(self, state: StateT) -> float | None:
        """Return the time at which the request is expected to be complete, or None if unknown.

        The time is in seconds on the loop's clock. While the rate of queries is limited, it is the
        deadline of the next query. A schedule may also have a method `is_sure(state) -> bool`:
        where it returns True, and the expected end has passed, the request goes before all others.
        """
        ...


class FixedInterval:
    """Queries each request every `interval` seconds.

    Raises:
        ValueError: The interval is not > 0 and finite.

    """

    def __init__(self, interval: float = 2.0) -> None:
        if not 0 < interval < math.inf:
            raise ValueError(f"interval is {interval!r}: expected seconds > 0, and finite")
        self.interval = interval

    def __repr__(self) -> str:
        return f"FixedInterval({self.interval!r})"

    def start(self, now: float, *, just_submitted: bool) -> tuple[None, float]:  # noqa: ARG002 - the protocol's
        """Return no state; a new request is first queried after the interval, others at once."""
        return None, self.interval if just_submitted else 0.0

    def next_delay(self, state: None, seen: Observation) -> float:  # noqa: ARG002 - the protocol's
        """Return the interval."""
        return self.interval

    def completed(self, state: None, seen: Observation) -> None:
        """Do nothing."""

    def expected_end(self, state: None) -> None:
        """Return None: the end is not known."""

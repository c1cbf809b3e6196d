"""What a member and the coordinator send each other.

The coordinator is Redis, or the process that started the members. Times are on its clock: Unix
seconds, or the loop's.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ideogram_async._limiter import LimitSource

NO_LIMIT = -1.0
"""A rate without a limit: JSON has no infinity."""
RATE_CHANGE = 0.02
"""By how much of itself a rate must differ to be news: the script's number, too."""
HELD_LATER_SECONDS = 0.05
"""Seconds by which a hold must end later to be news: the script's number."""


class Decision(msgspec.Struct, frozen=True):
    """What the member that leads has found out about the limit."""

    rate: float
    """Queries per second of all together."""
    source: LimitSource
    held: float
    """Seconds for which all stop from now on; 0 for no hold."""
    probing: bool
    """Whether one query alone may be sent, after the hold."""

    def is_news(self, state: State, now: float) -> bool:
        """Return whether all should hear of it, who know of this state."""
        return (
            self.probing != state.probing
            or self.held > max(state.held - now, 0.0) + HELD_LATER_SECONDS
            or abs(self.rate - state.rate) > RATE_CHANGE * abs(state.rate)
        )


class Event(msgspec.Struct, array_like=True):
    """What a member has seen that others should know."""

    at: float
    """In a report, how many seconds ago; in a reply, when. Of a refusal: when it was asked."""
    what: Literal["refused", "announced"]
    data: str
    """As JSON, which Redis does not read: `Retry-After` in seconds, or null; the queries per second
    that a header allows, for how many seconds."""


class Report(msgspec.Struct, omit_defaults=True):
    """What a member did since its last report."""

    id: str
    share: float
    """The part of the rate that it uses now."""
    pending: float
    """Its pending ids, if a query waited for the rate; else 0."""
    due: float
    """Those of them whose turn is now."""
    sent: int
    accepted: int
    newest: float
    """Seconds since the youngest of the accepted queries was sent."""
    events: list[Event]
    heard: int
    """The number of the last event that it has heard of."""
    urgent: bool
    """Whether the member that leads should hear of it at once."""
    samples: list[str] = []
    """What completions have taught, as JSON, which Redis does not read."""
    decision: Decision | None = None
    leaves: bool = False


class State(msgspec.Struct):
    """How all members may send: what is published when it changes."""

    rate: float = 0.0
    """Queries per second of all together; 0 where nobody has decided yet."""
    source: LimitSource = "none"
    held: float = 0.0
    """Until when all stop."""
    probing: bool = False
    slot: tuple[float, float] = (0.0, 0.0)
    """The number of the common slot, and its part, at a time: it grows with the rate."""

    @property
    def queries_per_second(self) -> float:
        """The rate of all together."""
        return math.inf if self.rate < 0 else self.rate


class Reply(State, kw_only=True):
    """What a member may do, and what all have done since the budget began."""

    now: float
    share: float
    prospect: float
    """The share that it has on the average, or will have once its queries wait for the rate."""
    first: float = 0.0
    """Where its part of the slots begins: what those before it have together."""
    pending: float
    """The pending ids of those that wait."""
    pushed: int
    """The number of the last message of the channel."""
    members: int
    """How many share the budget."""
    joined: bool = False
    """Whether the member was not known, or no longer."""
    lost: int = 0
    """How many were not heard of for long: they may be dead, or cut off, and go on."""
    back: int = 0
    """How many have come back."""
    probe: bool = False
    """Whether this member may send the one query."""
    leads: bool = False
    """Whether this member decides about the rate."""
    sent: int = 0
    accepted: int = 0
    newest: float = 0.0
    """When the youngest query was sent of those that were accepted."""
    heard: int = 0
    """The number of the last event."""
    events: list[Event] = []
    """Those that it has not heard of."""


class Announcement(State, kw_only=True):
    """A message of the channel.

    1. The shares of all have changed.
    2. The member that leads should report now.
    3. Completions have taught something.
    4. Otherwise: the state of all.
    """

    pushed: int
    """Its number."""
    shares: dict[str, tuple[float, float, float]] = {}
    """Of each member: its share, the one that it has on the average, where its part begins."""
    leader: str | None = None
    samples: list[str] = []
    author: str = ""
    """Whose samples they are."""

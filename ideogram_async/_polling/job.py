"""An id that is being asked, and who awaits it."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from contextvars import Context
from typing import Any, Protocol

import msgspec

from ideogram_async._errors import IdeogramError, RequestError
from ideogram_async._models import SamplingRequest
from ideogram_async._polling.attribution import FaultHistory
from ideogram_async._protocol.answers import record_of
from ideogram_async._protocol.outcome import Answer

NEW, ASKED, ANSWERED = range(3)
"""How far an id has come: never asked, asked, answered well at least once."""

ORDINARY, EXPECTED, IMMEDIATE = range(3)
"""Why an id is asked: the schedule says so; its end is sure, and `order` is when it will have
passed; a caller asked for it now."""


class Subscriber(Protocol):
    """A call that awaits ids: a run of many, or a call for one."""

    urgent: bool
    """Whether it is a call for one id, where a person may wait: its due job goes first."""
    request_id: str
    """The id of such a call."""
    is_one_shot: bool
    """Whether any good answer will do: one query per id."""
    wants_changes: bool
    """Whether it wants every change, not completion alone."""
    deadline: float | None
    """Seconds that an id may take from its first query on."""
    times_out_at: float
    """When the call ends by its own timeout, on the loop's clock."""
    shared_ids: set[str]
    """Its ids whose jobs another subscriber owns."""
    context: Context
    """The context of the call: what watches aiohttp finds the caller's trace in it."""

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        """Record a state that is not the last."""

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        """Record the record that ends an id well."""

    def failed(self, request_id: str, error: RequestError) -> None:
        """Record the error that ends an id."""

    def end(self, error: IdeogramError) -> None:
        """Stop: no id can go on."""


def expiry_from(subscriber: Subscriber, now: float) -> float:
    """Return when an id's time is up for a subscriber whose clock starts now."""
    return math.inf if subscriber.deadline is None else now + subscriber.deadline


class Job(msgspec.Struct, order=True, gc=False):
    """One id's place in the order of asking.

    Heaps compare `order`, the id and `tie_breaker`, so that no two jobs are equal. A job without
    an owner is removed: the queue drops it when it comes up (lazy deletion).
    """

    order: float
    """By when it should be asked: among the released, the earliest goes first."""
    request_id: str
    tie_breaker: int
    """Distinguishes the jobs of one id that may stand in one heap; 0 where there is but one."""
    owner: Subscriber | None
    """The most urgent of its subscribers, in whose lane it waits."""
    state: Any
    """The schedule's state of this request."""
    release: float
    """When it may be asked next, on the loop's clock."""
    precedence: int
    """Why it is asked, one of the three above."""
    expires: float = math.inf
    """When the id's time is up for its owner: set by the first query."""
    stage: int = NEW
    last_seen: bytes | int | None = None
    """The body of the last good answer, or the digest of its record, to tell a change by."""
    fault_history: FaultHistory | None = None
    shared_with: dict[Subscriber, float] | None = None
    """The subscribers beside its owner, and when the id's time is up for each."""

    @property
    def record(self) -> SamplingRequest | None:
        """The last record seen, decoded anew at each look: few look at it."""
        seen = self.last_seen
        return record_of(self.request_id, seen) if isinstance(seen, bytes) else None

    def differs(self, answer: Answer) -> bool:
        """Return whether an answer tells another state than the last one, as far as is known."""
        seen = self.last_seen
        return answer.digest() != seen if isinstance(seen, int) else answer.record != self.record

    @property
    def is_troubled(self) -> bool:
        """Whether its last query had a fault that may be its own."""
        return self.fault_history is not None and self.fault_history.faults > 0

    @property
    def last_fault(self) -> RequestError | None:
        """The last fault since its last good answer, whoever's it was."""
        return None if self.fault_history is None else self.fault_history.error

    def subscribers(self) -> Iterator[Subscriber]:
        """Return all who await it."""
        if self.owner is not None:
            yield self.owner
        yield from self.shared_with or ()

    def is_awaited_by(self, subscriber: Subscriber) -> bool:
        """Return whether a subscriber awaits it."""
        return subscriber is self.owner or subscriber in (self.shared_with or ())

    def start_clock(self, now: float) -> None:
        """Start the id's time for each subscriber that has set one, at its first query."""
        owner = self.owner
        if owner is not None and owner.deadline is not None:
            self.expires = now + owner.deadline
        if self.shared_with:
            self.shared_with = {one: expiry_from(one, now) for one in self.shared_with}

    def stop_clock(self) -> None:
        """Let the id's time start with a later query: none has reached the gateway."""
        self.expires = math.inf
        if self.shared_with:
            self.shared_with = dict.fromkeys(self.shared_with, math.inf)

    def first_expiry(self) -> float:
        """Return when the id's time is up for the first of its subscribers."""
        return min(self.expires, *self.shared_with.values()) if self.shared_with else self.expires

    def overdue(self, now: float) -> list[Subscriber]:
        """Return the subscribers whose time for this id is up."""
        late = [one for one, expires in (self.shared_with or {}).items() if expires <= now]
        if self.owner is not None and self.expires <= now:
            late.append(self.owner)
        return late

    def history(self) -> FaultHistory:
        """Return its fault history, a new one where it had none."""
        if self.fault_history is None:
            self.fault_history = FaultHistory(due=self.release)
        return self.fault_history

    def replace(self, tie_breaker: int) -> Job:
        """Mark this heap entry as removed (lazy deletion), and return a live copy."""
        successor = copy.copy(self)
        successor.tie_breaker = tie_breaker
        self.clear()
        return successor

    def clear(self) -> None:
        """Let a removed entry hold nothing: it may stand in the queue for long."""
        self.owner = self.shared_with = self.fault_history = None
        self.state = self.last_seen = None

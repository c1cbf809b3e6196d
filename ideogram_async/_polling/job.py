"""An id that is being asked, who awaits it, and what has gone wrong with it of late."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from ideogram_async._protocol.answers import record_of

if TYPE_CHECKING:
    from ideogram_async._errors import IdeogramError, RequestError
    from ideogram_async._models import SamplingRequest


class Subscriber(Protocol):
    """Whoever awaits ids: a run of many, or a call for one."""

    urgent: bool
    """Whether it is a call for one id, where a person may wait: its due job goes first."""
    request_id: str
    """The id of such a call."""
    is_one_shot: bool
    """Whether any good answer will do: one query an id."""
    wants_changes: bool
    """Whether it wants every change, not completion alone."""
    deadline: float | None
    """Seconds that an id may take from its first query on."""
    times_out_at: float
    """When the call ends by its own timeout, on the loop's clock."""
    shared_ids: set[str]
    """Its ids whose jobs another subscriber owns."""

    def changed(self, request_id: str, record: SamplingRequest) -> None:
        """Take note of a state that is not the last."""

    def completed(self, request_id: str, record: SamplingRequest) -> None:
        """Take the record that ends an id well."""

    def failed(self, request_id: str, error: RequestError) -> None:
        """Take the error that ends an id."""

    def end(self, error: IdeogramError) -> None:
        """Stop: no id can go on."""


class Subscription(msgspec.Struct, gc=False):
    """A subscriber that shares a job with its owner, and when the id's time is up for it."""

    subscriber: Subscriber
    expires: float = math.inf


class FaultHistory(msgspec.Struct, gc=False):
    """What has gone wrong in a row; any good answer ends it."""

    faults: int = 0
    """Faults of any kind: the exponent of the backoff."""
    unknown: int = 0
    """Answers that the gateway does not know the id, far enough apart to count."""
    unknown_at: float = -math.inf
    malformed: int = 0
    error: RequestError | None = None


class Job(msgspec.Struct, order=True, gc=False):
    """One id's place in the order of asking. Heaps compare `order`, the id and `twin`: no two tie.

    A job without an owner is void: it is dropped when it comes up.
    """

    order: float
    """By when it should be asked: among the released, the earliest goes first."""
    request_id: str
    tie_breaker: int
    """Tells apart the jobs of one id that may stand in one heap; 0 where there is but one."""
    owner: Subscriber | None
    """The most urgent of its subscribers, in whose lane it waits."""
    state: Any
    """The schedule's slot."""
    release: float
    """When it may be asked next, on the loop's clock."""
    is_immediate: bool
    """Whether a caller asked for this query now, rather than the schedule."""
    expires: float = math.inf
    """When the id's time is up for its owner: set by the first query."""
    asked: bool = False
    last_body: bytes | None = None
    """The last good answer, as it is kept."""
    fault_history: FaultHistory | None = None
    shared_with: list[Subscription] | None = None

    @property
    def record(self) -> SamplingRequest | None:
        """What the last good answer told, read anew, for few ask for it."""
        return None if self.last_body is None else record_of(self.request_id, self.last_body)

    def subscribers(self) -> Iterator[Subscriber]:
        """Go through all who await it."""
        if self.owner is not None:
            yield self.owner
        for guest in self.shared_with or ():
            yield guest.subscriber

    def start_clock(self, now: float) -> None:
        """Let the id's time run for whoever set one, from its first query on."""
        owner = self.owner
        if self.expires == math.inf and owner is not None and owner.deadline is not None:
            self.expires = now + owner.deadline
        for guest in self.shared_with or ():
            if guest.expires == math.inf and guest.subscriber.deadline is not None:
                guest.expires = now + guest.subscriber.deadline

    def first_expiry(self) -> float:
        """Tell when the id's time is up for the first of its subscribers."""
        if not self.shared_with:
            return self.expires
        return min(self.expires, *(guest.expires for guest in self.shared_with))

    def overdue(self, now: float) -> list[Subscriber]:
        """List those whose time for this id is up."""
        late = [guest.subscriber for guest in self.shared_with or () if guest.expires <= now]
        if self.owner is not None and self.expires <= now:
            late.append(self.owner)
        return late

    def history(self) -> FaultHistory:
        """Give its trouble, a new one where it had none."""
        if self.fault_history is None:
            self.fault_history = FaultHistory()
        return self.fault_history

    def replace(self, tie_breaker: int) -> Job:
        """Leave a void job where this one stands in a heap, and give the one that goes on."""
        successor = copy.copy(self)
        successor.tie_breaker = tie_breaker
        self.owner = None
        self.shared_with = None
        return successor

"""What a client tells whoever observes it, as it happens: the events, and the hooks' protocol."""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from ideogram_async._errors import IdeogramError
from ideogram_async._models import SamplingRequest
from ideogram_async._protocol.outcome import Answer, Fault
from ideogram_async._statistics import SessionState

_log = logging.getLogger("ideogram_async")


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """What a hook is told: one of the classes below this one. None of them holds a key."""


class QueryAnswered(Event, frozen=True, kw_only=True):
    """A query has ended: with the record of its request, or with an error."""

    url: str
    """Where it was posted."""
    session: int
    """The place of its key among the credentials, from 0 on."""
    request_id: str
    asked: float
    """When it went out, seconds on the event loop's clock."""
    answered: float
    """When its outcome was known, on the same clock."""
    status: int | None
    """The HTTP status, or None where no answer came."""
    record: SamplingRequest | None
    """The request's state, if a good answer came."""
    error: IdeogramError | None
    """What went wrong, if not. Most of it is asked again, and no caller hears of it."""


class RequestEnded(Event, frozen=True, kw_only=True):
    """A request that was polled has ended for all who await it: complete, or given up.

    Told once, however many await it. Those that were left are not ended, and `retrieve` and
    `retrieve_many` end none.
    """

    request_id: str
    record: SamplingRequest | None
    """The record that showed completion, or else the last one seen."""
    error: IdeogramError | None
    """Why it failed, or None where it is complete."""
    age: float | None
    """Seconds from its submission to the answer that showed completion, both on the server's
    clock and to the second; None where the gateway did not tell, or the request failed."""


class RequestFailing(Event, frozen=True, kw_only=True):
    """A request that is polled has had its third fault in a row; it is asked again.

    Only faults that may be its own count: not those of a gateway that cannot be reached.
    """

    request_id: str
    faults: int
    """Faults in a row."""
    error: IdeogramError
    """The last of them."""


class SessionChanged(Event, frozen=True, kw_only=True):
    """The session of one key has come into another state, as `SessionStatistics.state` names it.

    A hold that ends by itself is noticed with the session's next answer.
    """

    session: int
    """The place of its key among the credentials, from 0 on."""
    state: SessionState
    """In use; holding for a throttle; holding for a gateway that is down; its key refused."""
    former: SessionState
    """The state before."""
    reason: str | None
    """Why it is not open: what the gateway said, or why it cannot be reached."""


class Hook(Protocol):
    """A function that is told of events; give it to a client as one of its `hooks`.

    It is called in the event loop, between two queries, so it must be quick and must not block.
    What it raises is logged, once for each hook, and disturbs nothing.
    """

    def __call__(self, event: Event, /) -> None:
        """Take note of an event."""
        ...


def check_hooks(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Check that all are plain functions, or objects that can be called as one."""
    checked = tuple(hooks)
    for hook in checked:
        if not callable(hook):
            raise TypeError(f"hooks: {hook!r} cannot be called")
        called: Any = type(hook).__call__
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(called):
            raise TypeError(f"hooks: {hook!r} is a coroutine function: expected a plain one")
    return checked


def hooks_of(hooks: tuple[Hook, ...], url: str) -> Hooks | None:
    """Give what tells the hooks, the log among them where it is to be told all, or None."""
    if _log.isEnabledFor(logging.DEBUG):
        hooks = (*hooks, _log_event)
    return Hooks(hooks, url) if hooks else None


def _log_event(event: Event) -> None:
    """Log what nothing else does: good answers."""
    if isinstance(event, QueryAnswered) and event.record is not None:
        percentage, seconds = event.record.completion_percentage, event.answered - event.asked
        _log.debug("%s: %s %% (%.3f s)", event.request_id, percentage, seconds)


class Hooks:
    """The hooks of a client, of which none can disturb it."""

    def __init__(self, hooks: tuple[Hook, ...], url: str) -> None:
        self._hooks = hooks
        self._url = url
        self._complained: set[int] = set()

    def answered(
        self, session: int, outcome: Answer | Fault, request_id: str, asked: float, now: float
    ) -> None:
        """Tell of a query's outcome."""
        record, error, status = None, None, None
        if isinstance(outcome, Fault):
            error = outcome.error
            status = error.status
        else:
            record, status = outcome.record, outcome.status
        event = QueryAnswered(
            url=self._url,
            session=session,
            request_id=request_id,
            asked=asked,
            answered=now,
            status=status,
            record=record,
            error=error,
        )
        self._tell(event)

    def completed(self, request_id: str, answer: Answer) -> None:
        """Tell of a request that is complete."""
        created, age = answer.record.creation_time_float, None
        if created is not None and answer.server_time is not None:
            age = max(answer.server_time - created, 0.0)
        self._tell(RequestEnded(request_id=request_id, record=answer.record, error=None, age=age))

    def failing(self, request_id: str, faults: int, error: IdeogramError) -> None:
        """Send the event of a request with faults in a row."""
        self._tell(RequestFailing(request_id=request_id, faults=faults, error=error))

    def failed(self, request_id: str, error: IdeogramError) -> None:
        """Tell of a request that was given up."""
        self._tell(RequestEnded(request_id=request_id, record=error.request, error=error, age=None))

    def changed(
        self, session: int, state: SessionState, former: SessionState, reason: str | None
    ) -> None:
        """Tell of a session's new state."""
        self._tell(SessionChanged(session=session, state=state, former=former, reason=reason))

    def _tell(self, event: Event) -> None:
        for place, hook in enumerate(self._hooks):
            try:
                hook(event)
            except (Exception, CancelledError):  # noqa: BLE001 - whatever a user's code does
                if place not in self._complained:
                    self._complained.add(place)
                    _log.exception("the hook %r raised; this is logged once", hook)

"""Hooks: the events that a client reports, and the functions that receive them."""

from __future__ import annotations

import inspect
import logging
from asyncio import CancelledError
from collections.abc import Iterable
from typing import Any, Protocol

import msgspec

from ideogram_async._errors import IdeogramError
from ideogram_async._logging import logger
from ideogram_async._models import SamplingRequest
from ideogram_async._protocol.outcome import Answer, Fault
from ideogram_async._statistics import SessionState


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """The base class of the events below. No event holds a key."""


class QueryAnswered(Event, frozen=True, kw_only=True):
    """A query has ended, with a record or with an error."""

    url: str
    """The address that it was posted to."""
    session: int
    """The index of its key among the credentials; the first is 0."""
    request_id: str
    asked: float
    """Time at which it was sent: seconds on the event loop's clock."""
    answered: float
    """Time at which its outcome was known, on the same clock."""
    status: int | None
    """The HTTP status; None without an answer."""
    record: SamplingRequest | None
    """The request's state; None after an error."""
    error: IdeogramError | None
    """The fault; None after a good answer. Most faults are retried, and callers do not see them."""


class RequestEnded(Event, frozen=True, kw_only=True):
    """A polled request has ended for all its callers: it is complete, or it has failed.

    Sent once per request, also if several callers await it. It is not sent if all callers have
    left before the end, nor in `retrieve` and `retrieve_many`.
    """

    request_id: str
    record: SamplingRequest | None
    """The record that showed completion; after a failure, the last one that was received."""
    error: IdeogramError | None
    """The reason of a failure; None if the request is complete."""
    age: float | None
    """Seconds from the submission to the answer that showed completion, both on the server's
    clock, accurate to one second. None if the gateway did not send both, or after a failure."""


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
    """The state of one key's session has changed; `SessionStatistics.state` lists the states.

    The end of a hold is reported with the session's next answer.
    """

    session: int
    """The index of its key among the credentials; the first is 0."""
    state: SessionState
    """The new state."""
    former: SessionState
    """The state before it."""
    reason: str | None
    """Why it is not open: what the gateway said, or why it cannot be reached."""


class Hook(Protocol):
    """A function that receives events. A client takes a list of them as its `hooks`.

    It is called in the event loop, between two queries, so it must be quick and must not block.
    An exception from it is logged, once per hook, and has no other effect. An object that is called
    does, too, as `IdeogramClient(base_url, hooks=[Figures()])`::

        from ideogram_async import Event, QueryAnswered, RequestEnded, SessionChanged


        class Figures:
            # Counts what happens, and prints which key is out of use.

            def __init__(self) -> None:
                self.failed = self.ended = 0
                self.seconds = 0.0

            def __call__(self, event: Event) -> None:
                match event:
                    case QueryAnswered(asked=asked, answered=answered):
                        self.seconds += answered - asked
                    case RequestEnded(error=error):
                        self.ended += 1
                        self.failed += error is not None
                    case SessionChanged(state="refused", session=index, reason=reason):
                        print(f"key {index} is out of use: {reason}")
    """

    def __call__(self, event: Event, /) -> None:
        """Handle one event."""


def check_hooks(hooks: Iterable[Hook]) -> tuple[Hook, ...]:
    """Return the hooks as a tuple; each is a plain function, or an object that is called as one.

    Raises:
        TypeError: It is not a list, or one of them cannot be called or is a coroutine function.

    """
    if callable(hooks) or not isinstance(hooks, Iterable):  # a single hook, mostly
        raise TypeError(f"hooks is a {type(hooks).__name__}: expected a list of functions")
    checked = tuple(hooks)
    for hook in checked:
        if not callable(hook):
            raise TypeError(f"hooks: {hook!r} cannot be called")
        called: Any = type(hook).__call__
        if inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(called):
            raise TypeError(f"hooks: {hook!r} is a coroutine function: expected a plain one")
    return checked


def hooks_of(hooks: tuple[Hook, ...], url: str) -> Hooks | None:
    """Return the caller of the hooks, or None if there are none.

    At the level DEBUG the log is one of them.
    """
    if logger.isEnabledFor(logging.DEBUG):
        hooks = (*hooks, _log_event)
    return Hooks(hooks, url) if hooks else None


def _log_event(event: Event) -> None:
    """Log a good answer: faults and changes of state are logged elsewhere."""
    if isinstance(event, QueryAnswered) and event.record is not None:
        percentage, seconds = event.record.completion_percentage, event.answered - event.asked
        logger.debug("%s: %s %% (%.3f s)", event.request_id, percentage, seconds)


class Hooks:
    """Calls the hooks of a client. Their exceptions do not reach it."""

    def __init__(self, hooks: tuple[Hook, ...], url: str) -> None:
        self._hooks = hooks
        self._url = url
        self._logged: set[int] = set()
        """Indexes of hooks whose exception has been logged."""

    def answered(
        self, session: int, outcome: Answer | Fault, request_id: str, asked: float, now: float
    ) -> None:
        """Send `QueryAnswered`."""
        if isinstance(outcome, Fault):
            record, error, status = None, outcome.error, outcome.error.status
        else:
            record, error, status = outcome.record, None, outcome.status
        self._send(
            QueryAnswered(
                url=self._url,
                session=session,
                request_id=request_id,
                asked=asked,
                answered=now,
                status=status,
                record=record,
                error=error,
            )
        )

    def completed(self, request_id: str, answer: Answer) -> None:
        """Send `RequestEnded` for a complete request."""
        created, age = answer.record.creation_time_float, None
        if created is not None and answer.server_time is not None:
            age = max(answer.server_time - created, 0.0)
        self._send(RequestEnded(request_id=request_id, record=answer.record, error=None, age=age))

    def failing(self, request_id: str, faults: int, error: IdeogramError) -> None:
        """Send the event of a request with faults in a row."""
        self._send(RequestFailing(request_id=request_id, faults=faults, error=error))

    def failed(self, request_id: str, error: IdeogramError) -> None:
        """Send `RequestEnded` for a request that has failed."""
        self._send(RequestEnded(request_id=request_id, record=error.request, error=error, age=None))

    def changed(
        self, session: int, state: SessionState, former: SessionState, reason: str | None
    ) -> None:
        """Send `SessionChanged`."""
        self._send(SessionChanged(session=session, state=state, former=former, reason=reason))

    def _send(self, event: Event) -> None:
        for index, hook in enumerate(self._hooks):
            try:
                hook(event)
            except (Exception, CancelledError):  # noqa: BLE001 - a user's code may raise anything
                if index not in self._logged:
                    self._logged.add(index)
                    logger.exception("the hook %r raised; this is logged once", hook)

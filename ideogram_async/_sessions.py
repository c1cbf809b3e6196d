"""The session pool: one session a key, and the semaphore that bounds the queries in flight.

Nothing here reads a clock: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import copy
import logging
import math
import random

import anyio

from ideogram_async._errors import AuthenticationError, IdeogramError
from ideogram_async._settings import Settings
from ideogram_async._wire import Answer, Fault, Verdict

_log = logging.getLogger("ideogram_async")

SICK_AFTER = 30.0
"""Seconds without a good answer after which faults are the gateway's, not the ids'."""

PAGES_WARNED = 5
"""Web pages for answers, with nothing else before them, after which a warning is logged."""


class Session:
    """One key's state."""

    __slots__ = ("held_until", "in_flight", "index", "refusal")

    def __init__(self, index: int) -> None:
        self.index = index
        self.in_flight = 0
        self.held_until = -math.inf
        self.refusal: IdeogramError | None = None


class Pool:
    """All sessions of a client, and what they have seen of the gateway."""

    def __init__(self, settings: Settings) -> None:
        self.slots = anyio.Semaphore(settings.max_in_flight, fast_acquire=True)
        self.rate = math.inf
        self.queries = 0
        self.refused = 0
        self._settings = settings
        self._sessions = [Session(index) for index in range(len(settings.credentials))]
        self._only_pages = 0
        self._failing_since: float | None = None
        self._last_fault = -math.inf

    @property
    def in_flight(self) -> int:
        """Count the queries sent and not yet answered."""
        return sum(session.in_flight for session in self._sessions)

    def choose(self, now: float) -> Session | None:
        """Give the session with the most room, or None while none may send."""
        best = None
        for session in self._sessions:
            usable = session.refusal is None and session.held_until <= now
            if usable and (best is None or session.in_flight < best.in_flight):
                best = session
        return best

    def opens_at(self, now: float) -> float:
        """Tell when a session may send: `now`, or later."""
        held = (session.held_until for session in self._sessions if session.refusal is None)
        return max(min(held, default=math.inf), now)

    def sent(self, session: Session) -> None:
        """Note that a query goes out."""
        session.in_flight += 1
        self.queries += 1

    def returned(self, session: Session) -> None:
        """Note that a query is over, answered or not."""
        session.in_flight -= 1

    def note(self, session: Session, outcome: Answer | Fault, now: float) -> None:
        """Learn from an outcome."""
        if isinstance(outcome, Fault):
            self._note_fault(session, outcome, now)
        else:
            self._failing_since = None
            self._only_pages = -1

    def sick(self, now: float) -> bool:
        """Tell whether the gateway as a whole has failed of late, so that faults do not count."""
        since = self._failing_since
        return since is not None and now - since >= SICK_AFTER

    def refusal(self) -> IdeogramError | None:
        """Give the reason where every key is out of use, else None."""
        if any(session.refusal is None for session in self._sessions):
            return None
        told = copy.copy(self._sessions[-1].refusal)
        if told is not None and not self._settings.has_key:
            told.args = (f"no key was given, and the gateway wants one ({told.args[0]})",)
        return told

    def reconsider(self) -> None:
        """Take refused keys back into use, for a new call to try."""
        if self.refusal() is not None:
            for session in self._sessions:
                session.refusal = None

    def _note_fault(self, session: Session, fault: Fault, now: float) -> None:
        if self._failing_since is None or now - self._last_fault >= SICK_AFTER:
            self._failing_since = now
        self._last_fault = now
        self._note_page(fault)
        if fault.verdict is Verdict.REFUSED:
            self.refused += 1
            session.refusal = fault.error
        elif fault.verdict is Verdict.THROTTLED:
            self.refused += 1
        wait = fault.error.retry_after
        if wait is not None and not isinstance(fault.error, AuthenticationError):
            # Jittered, so that what waited does not wake as a herd.
            until = now + wait * random.uniform(1.0, 1.1)  # noqa: S311 - no secret
            session.held_until = max(session.held_until, until)

    def _note_page(self, fault: Fault) -> None:
        """Warn once when the first five answers of all were web pages: no gateway, it seems."""
        if not fault.html:
            if fault.error.status is not None:
                self._only_pages = -1
        elif self._only_pages >= 0:
            self._only_pages += 1
            if self._only_pages == PAGES_WARNED:
                _log.warning(
                    "base_url %s answers with web pages alone: is it the gateway's address?",
                    self._settings.base_url,
                )

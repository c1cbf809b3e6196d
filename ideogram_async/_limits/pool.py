"""The session pool: one session a key, each with its health and its pace.

Nothing here reads a clock: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import copy
import logging
import math

from ideogram_async._config import Settings
from ideogram_async._errors import IdeogramError
from ideogram_async._hooks import Hooks, hooks_of
from ideogram_async._limits.session import KeySession
from ideogram_async._limits.shared_limit import SharedLimitDetector
from ideogram_async._protocol.outcome import Answer, Fault
from ideogram_async._statistics import SessionState, SessionStatistics

_log = logging.getLogger("ideogram_async")

SICK_AFTER = 30.0
"""Seconds without a good answer after which faults are the gateway's, not the ids'."""
WELL_FOR = 60.0
"""Seconds: where answers were good so lately, and now all ids fail alike, it is the gateway."""
PAGES_WARNED = 5
"""Web pages for answers, with nothing else before them, after which a warning is logged."""
LUCKY_RUN_OF_MANY = 24
"""Where several keys may share a limit one's refusals are bad luck less soon, and where they do,
never: what it sends itself does not tell how much of the limit is used."""
TOLD_SHARE = 0.995
"""The part of the told rate that is used: at exactly the rate a sliding window refuses 3 %."""


class SessionPool:
    """All sessions of a client, and what they have seen of the gateway."""

    def __init__(self, settings: Settings) -> None:
        told = settings.max_rate
        gentle = told is None
        self.hooks: Hooks | None = hooks_of(settings.hooks, settings.url)
        self._sessions = [
            KeySession(index, gentle=gentle, changed=self._changed)
            for index in range(len(settings.credentials))
        ]
        self._told = math.inf if told is None else TOLD_SHARE * told
        self._told_next = -math.inf
        self._settings = settings
        self._failing_since: float | None = None
        self._failing_id: str | None = None
        self._last_fault = -math.inf
        self._last_good = -math.inf
        self._only_pages = 0
        self._sharing = SharedLimitDetector()

    @property
    def in_flight(self) -> int:
        """Count the queries sent and not yet answered."""
        return sum(session.in_flight for session in self._sessions)

    @property
    def rate(self) -> float:
        """Queries a second that may be sent now; inf where nothing limits them."""
        rate = 0.0
        for session in self._sessions:  # looked at for each query: no generator, no `sum`
            rate += session.throttle.rate
        return min(self._told, rate)

    def choose(self, now: float, *, immediate: bool) -> KeySession | None:
        """Give the session with the most room, equal ones in turn, or None while none may send."""
        if now < self._told_next:
            return None
        best = None
        for session in self._sessions:
            if session.opens_at(immediate=immediate) <= now and (
                best is None
                or (session.in_flight, session.sent_at) < (best.in_flight, best.sent_at)
            ):
                best = session
        return best

    def opens_at(self, now: float, *, immediate: bool) -> float:
        """Tell when a session may send: `now`, or later."""
        opens_at = min(session.opens_at(immediate=immediate) for session in self._sessions)
        return max(opens_at, self._told_next, now)

    def held_until(self, now: float) -> float:
        """Tell until when the gateway has asked every key to wait."""
        used = (session for session in self._sessions if session.refusal is None)
        return max(min((session.throttle.held_until for session in used), default=now), now)

    def wait(self, pending: int) -> None:
        """Note that due queries wait for the pace, of so many ids that are pending."""
        for session in self._sessions:
            session.throttle.start_at(pending / len(self._sessions))
            session.throttle.wait()

    def sent(self, session: KeySession, now: float, *, immediate: bool) -> None:
        """Note that a query goes out."""
        session.sent(now, immediate=immediate)
        if self._told < math.inf:
            self._told_next = now + 1 / self._told

    def replayed(self, index: int, now: float) -> None:
        """Count a query that went out once more on another connection, in its turn."""
        self._sessions[index].replayed(now)
        if self._told < math.inf:
            self._told_next = max(self._told_next, now) + 1 / self._told

    def note(
        self,
        session: KeySession,
        outcome: Answer | Fault,
        request_id: str,
        asked: float,
        now: float,
    ) -> None:
        """Learn from an outcome."""
        if self.hooks is not None:
            self.hooks.answered(session.index, outcome, request_id, asked, now)
        if isinstance(outcome, Answer):
            session.answered(asked, now)
            self._failing_since = None
            self._last_good = now
            self._only_pages = -1
            return
        was_broken = self._broken
        if session.failed(outcome, asked, now) and len(self._sessions) > 1:
            self._spread(session, now)
        self._note_failing(request_id, now, was_broken=was_broken)
        self._note_page(outcome)

    def sick(self, now: float) -> bool:
        """Tell whether the gateway as a whole has failed of late, so that faults do not count."""
        since = self._failing_since
        if since is None:
            return False
        return (
            now - since >= SICK_AFTER
            or (self._failing_id is None and since - self._last_good < WELL_FOR)
            or self._broken
        )

    def refusal(self) -> IdeogramError | None:
        """Give the reason where every key is out of use, else None."""
        if any(session.refusal is None for session in self._sessions):
            return None
        last = max(self._sessions, key=lambda session: session.refused_at).refusal
        if last is None:
            return None
        keys = len(self._sessions)
        who = "the key was refused" if keys == 1 else f"all {keys} keys were refused, the last"
        if not self._settings.has_key:
            who = "no key was given, and the gateway wants one"
        told = copy.copy(last)
        told.args = (f"{who}: {last.args[0]}",)
        told.request_id = None
        return told

    def reconsider(self, now: float, *, run: bool) -> None:
        """Let a new run try refused keys again, or a new call where there is no other."""
        if run or self.refusal() is not None:
            for session in self._sessions:
                session.retry(now)

    def hold(self, index: int, seconds: float, now: float) -> None:
        """Hold a session for a refusal that another process with its limit has had."""
        session = self._sessions[index]
        session.throttle.luck.run = math.inf
        session.follow(now + seconds, now)

    def statistics(self, now: float) -> tuple[SessionStatistics, ...]:
        """Give the figures of each session, in the order of the keys."""
        return tuple(session.statistics(now) for session in self._sessions)

    @property
    def _broken(self) -> bool:
        return all(session.breaker.probing for session in self._sessions)

    def _changed(self, session: KeySession, former: SessionState) -> None:
        """Say that a session has come into another state."""
        state, reason = session.state, session.reason
        # Where every key is refused, it is the callers who are told.
        loud = state == "broken" or (state == "refused" and self.refusal() is None)
        level = logging.WARNING if loud else logging.INFO
        _log.log(level, "session %d: %s%s", session.index, state, f", {reason}" if reason else "")
        if self.hooks is not None:
            self.hooks.changed(session.index, state, former, reason)

    def _spread(self, session: KeySession, now: float) -> None:
        """Let a refusal count for all sessions, where they seem to share the limit."""
        self._sharing.refused(session.index, now)
        for one in self._sessions:
            one.throttle.luck.run = math.inf if self._sharing.shared else LUCKY_RUN_OF_MANY
        if self._sharing.shared:
            for other in self._sessions:
                if other is not session:
                    other.follow(session.throttle.held_until, now)

    def _note_failing(self, request_id: str, now: float, *, was_broken: bool) -> None:
        idle = now - self._last_fault >= SICK_AFTER and not was_broken  # a breaker, too, is silent
        if self._failing_since is None or idle:
            self._failing_since, self._failing_id = now, request_id
        elif self._failing_id != request_id:
            self._failing_id = None  # more than one
        self._last_fault = now

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

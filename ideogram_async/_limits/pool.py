"""The session pool: one session for each key, and which of them sends the next query.

It hears of a fault only what `_polling.attribution` has charged to a key or the gateway. Nothing
here reads a clock: `now` is passed in, in seconds on the event loop's clock.
"""

from __future__ import annotations

import copy
import logging
import math
from collections.abc import Callable

from ideogram_async._config import Settings
from ideogram_async._errors import BaseURLError, IdeogramError, RequestError
from ideogram_async._hooks import Hooks, hooks_of
from ideogram_async._limiter import Limiter
from ideogram_async._limits.found_rate import FoundRate
from ideogram_async._limits.session import KeySession
from ideogram_async._limits.shared_limit import SharedLimitDetector
from ideogram_async._limits.told_rate import ToldRate
from ideogram_async._logging import logger
from ideogram_async._protocol.credentials import STYLES
from ideogram_async._protocol.outcome import Fault, FaultKind
from ideogram_async._statistics import SessionState, SessionStatistics

TOLD_SHARE = 0.995
"""The part of the told rate that is used: at exactly the rate a sliding window refuses 3 %."""
REFUSED_NOW_SECONDS = 10.0
"""A key counts as refused now if it was refused so lately; else it is tried again before a run
ends because all are refused."""


class SessionPool:
    """All sessions of a client.

    A rate that was told is kept by all together. Beside it each session has a limiter: one that
    finds its key's limit, or the one that was passed in, which all sessions then use.
    """

    def __init__(self, settings: Settings) -> None:
        told, keys = settings.max_rate, len(settings.credentials)
        self.hooks: Hooks | None = hooks_of(settings.hooks, settings.url)
        self.sessions: tuple[KeySession, ...] = tuple(
            KeySession(
                index,
                settings.limiter or FoundRate(is_gentle=told is None, keys=keys),
                changed=self._changed,
            )
            for index in range(keys)
        )
        one = settings.limiter
        self._limiters: tuple[Limiter, ...] = (
            tuple(session.limiter for session in self.sessions) if one is None else (one,)
        )
        self._on_change: Callable[[], None] = lambda: None
        for limiter in self._limiters:
            limiter.subscribe(self._limiter_changed)
        self._told = ToldRate(TOLD_SHARE * told) if told and told < math.inf else None
        self._settings = settings
        self._sharing = SharedLimitDetector()

    @property
    def in_flight(self) -> int:
        """Queries sent and not yet answered."""
        return sum(session.in_flight for session in self.sessions)

    @property
    def room(self) -> int:
        """Queries that the keys in use may have in flight."""
        return sum(session.room for session in self.sessions if session.refusal is None)

    @property
    def rate(self) -> float:
        """Queries per second that may be sent now; inf where nothing limits them."""
        rate = 0.0
        for limiter in self._limiters:  # looked at for each query: no generator, no `sum`
            rate += limiter.rate
        return rate if self._told is None else min(self._told.rate, rate)

    @property
    def fault(self) -> RequestError | None:
        """The last fault that was charged to a key or the gateway, while no session is open."""
        faults = [session.blame for session in self.sessions if session.state != "open"]
        return faults[-1] if len(faults) == len(self.sessions) else None

    def choose(self, now: float, *, immediate: bool) -> KeySession | None:
        """Return the session with the most room, equal ones in turn; None while none may send."""
        if self._told is not None and now < self._told.opens_at:
            return None
        best = None
        for session in self.sessions:
            if session.opens_at(now, immediate=immediate) <= now and (
                best is None
                or (session.in_flight, session.sent_at) < (best.in_flight, best.sent_at)
            ):
                best = session
        return best

    def choose_probing(self, now: float) -> KeySession | None:
        """Return a session that may send a probe."""
        for session in self.sessions if now >= self._told_opens_at else ():
            if session.probing and session.opens_at(now, immediate=False) <= now:
                return session
        return None

    def choose_other(self, refused_by: dict[int, int], now: float) -> KeySession | None:
        """Return the session that has refused an id least often, of those that may send now."""
        open_ = [one for one in self.sessions if one.opens_at(now, immediate=False) <= now]
        return min(open_, key=lambda one: refused_by.get(one.index, 0), default=None)

    def choose_for_newcomer(self, now: float) -> KeySession | None:
        """Return a session that may send an id that was never asked, beside its probes."""
        for session in self.sessions if now >= self._told_opens_at else ():
            if session.newcomer_at <= now and session.in_flight < session.room:
                return session
        return None

    def opens_at(self, now: float, *, immediate: bool) -> float:
        """Return when a session may send: `now`, or later."""
        opens_at = min(session.opens_at(now, immediate=immediate) for session in self.sessions)
        return max(opens_at, self._told_opens_at, now)

    @property
    def is_probing(self) -> bool:
        """Whether a session sends probes alone."""
        for session in self.sessions:  # noqa: SIM110 - looked at for each query: no generator
            if session.probing:
                return True
        return False

    def next_probe_at(self, now: float) -> float:
        """Return when a session may send a probe; inf for never."""
        return min(
            (one.opens_at(now, immediate=False) for one in self.sessions if one.probing),
            default=math.inf,
        )

    def newcomer_at(self) -> float:
        """Return when an id that was never asked may be sent beside the probes; inf for never."""
        return min(session.newcomer_at for session in self.sessions)

    def held_until(self, now: float) -> float:
        """Return until when the gateway has asked every key to wait."""
        used = (session for session in self.sessions if session.refusal is None)
        return max(min((session.held_until for session in used), default=now), now)

    def wait(self, pending: int) -> None:
        """Record that due queries wait for the pace, of so many ids that are pending."""
        if self._told is not None:
            self._told.wait()
        for limiter in self._limiters:
            limiter.wait(pending)

    def sent(self, session: KeySession, now: float, *, immediate: bool) -> None:
        """Record that a query goes out."""
        session.sent(now, immediate=immediate)
        if self._told is not None:
            self._told.sent(now)

    def sent_newcomer(self, session: KeySession, now: float) -> None:
        """Record that an id that was never asked goes out beside the probes."""
        session.sent_newcomer(now)
        if self._told is not None:
            self._told.sent(now)

    def replayed(self, index: int, now: float) -> None:
        """Count a query that went out once more on another connection, in its turn."""
        self.sessions[index].replayed(now)
        if self._told is not None:
            self._told.sent(now)

    def throttled(
        self, session: KeySession, error: RequestError, asked: float, now: float, *, is_known: bool
    ) -> bool:
        """Record a refusal that was charged to the rate of a key; return whether it holds it."""
        is_first = session.limiter.source == "none"
        holds = session.throttled(error, asked, now, is_known=is_known)
        # All keys have begun at once: that they were first refused together tells nothing.
        if holds and not is_first and len(self._limiters) > 1:
            self._spread(session, now)
        return holds

    def is_outage(self, now: float) -> bool:
        """Return whether the gateway has been down for so long that one-shot calls may end."""
        return all(session.breaker.is_outage(now) for session in self.sessions)

    def refusal(self, now: float) -> IdeogramError | None:
        """Return the reason where every key is out of use, else None.

        A key that was refused a while ago is tried again first.
        """
        last: KeySession = self.sessions[0]
        is_stale = False
        for session in self.sessions:
            if session.refusal is None:
                return None
            if now - session.refused_at > REFUSED_NOW_SECONDS:
                is_stale = True
                session.retry(now)
            if session.refused_at >= last.refused_at:
                last = session
        return None if is_stale or last.refusal is None else self._refusal(last.refusal)

    def _refusal(self, last: RequestError) -> IdeogramError:
        keys = len(self.sessions)
        who = "the key was refused" if keys == 1 else f"all {keys} keys were refused, the last"
        if not self._settings.secrets:
            variables = " or ".join(style.variable for style in STYLES.values())
            who = f"no key was given (set {variables}), and the gateway wants one"
        refusal = copy.copy(last)
        refusal.args = (f"{who}: {last.args[0]}",)
        refusal.request_id = None
        return refusal

    def wrong_address(self, fault: Fault) -> BaseURLError:
        """Return the error of a client whose address takes no queries."""
        base_url, words = self._settings.base_url, fault.error.args[0]
        if fault.kind is FaultKind.DOUBTFUL_ADDRESS:
            message = f"base_url {base_url!r} is no gateway's, it seems ({words}): is it right?"
        else:
            message = f"base_url {base_url!r} takes no queries ({words})"
        return BaseURLError(message, status=fault.error.status)

    def reconsider(self, now: float, *, run: bool) -> None:
        """Let a new run try refused keys again, or a new call where there is no other."""
        if run or all(session.refusal is not None for session in self.sessions):
            for session in self.sessions:
                session.retry(now)

    def hold(self, index: int, seconds: float, now: float) -> None:
        """Hold a session for a refusal that another process with its limit has had."""
        session = self.sessions[index]
        session.follow(now + seconds, now)

    def statistics(self, now: float) -> tuple[SessionStatistics, ...]:
        """Return the figures of each session, in the order of the keys."""
        return tuple(session.statistics(now, self._told) for session in self.sessions)

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back whenever a limiter has changed by itself: see `update`."""
        self._on_change = changed

    def _limiter_changed(self) -> None:
        self._on_change()

    def update(self, now: float) -> None:
        """Look at the sessions anew: a limiter that others share has changed."""
        for session in self.sessions:
            session.update(now)

    @property
    def _told_opens_at(self) -> float:
        return -math.inf if self._told is None else self._told.opens_at

    def _changed(self, session: KeySession, former: SessionState, now: float) -> None:
        """Log that a session has come into another state, and let the hooks know."""
        state, reason = session.state, session.reason
        # Where every key is refused, the callers get the error.
        others = any(one.refusal is None for one in self.sessions)
        is_loud = state == "broken" or (state == "refused" and others)
        level = logging.WARNING if is_loud or former == "broken" else logging.INFO
        logger.log(level, "session %d: %s", session.index, self._described(session, former, now))
        if self.hooks is not None:
            self.hooks.changed(session.index, state, former, reason)

    def _described(self, session: KeySession, former: SessionState, now: float) -> str:
        if session.state == "open":
            return f"open again ({former} before)"
        next_try = session.closed_until - now
        when = f", next try in {next_try:.0f} s" if 0 < next_try < math.inf else ""
        return f"{session.state}, {session.reason or 'no reason known'}{when}"

    def _spread(self, session: KeySession, now: float) -> None:
        """Let a refusal count for all sessions, where they seem to share the limit."""
        self._sharing.refused(session.index, now)
        if self._sharing.shared:
            for other in self.sessions:
                if other is not session:
                    other.follow(session.held_until, now)

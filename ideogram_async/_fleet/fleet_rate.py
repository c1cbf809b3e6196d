"""The limit of the whole fleet, found by the client's own rate limiter.

Each member feeds its limiter with what all have done, and the one that leads says what follows. So
the next one, if that is lost, knows already what it knew.
"""

from __future__ import annotations

import math

import msgspec

from ideogram_async._fleet.messages import NO_LIMIT, Decision, Reply
from ideogram_async._limits.found_rate import FoundRate
from ideogram_async._validation import check_rate

TOLD_SHARE = 0.98
"""The part of the told rate that is used: some queries are sent beside the common slots, as the
first one of a member whose work begins, and one slot that was not used may be used later."""

DOUBT_SECONDS = 60.0
"""Seconds after the loss of a member in which that of another one begins no new doubt."""

_read_refusal = msgspec.json.Decoder(float | None).decode
_read_bound = msgspec.json.Decoder(tuple[float, float]).decode


class FleetRate:
    """The rate limiter of all members together, as this one sees it."""

    def __init__(self, max_rate: float | None) -> None:
        self.told: float = (
            math.inf if max_rate is None else TOLD_SHARE * check_rate("max_rate", max_rate)
        )
        """Queries per second that are allowed at most; inf where that is to be found."""
        self._limiter = FoundRate(is_gentle=max_rate is None)
        self._last: Reply | None = None
        self._heard_at = 0.0
        self._lost_at = -math.inf
        self._is_back = False
        # What headers allow
        self._bound = math.inf
        self._bound_at = self._bound_until = -math.inf

    def allow_more(self, max_rate: float) -> None:
        """Allow more: a member has joined that brings its part of the told rate along."""
        self.told += TOLD_SHARE * max_rate

    @property
    def heard(self) -> int:
        """The number of the last event that was heard of."""
        return 0 if self._last is None else self._last.heard

    def forget(self) -> None:
        """Begin anew from the next reply: it may count from 0."""
        self._last = None

    def feed(self, reply: Reply, now: float) -> None:
        """Record what all have done since the last reply, in the order in which it can have been.

        A member that joins, or that was away for long, has not heard of all: it takes over what was
        found, and measures anew.

        Times are on this loop's clock, as if the reply had been made right now.
        """
        last, since, limiter = self._last, self._heard_at, self._limiter
        self._last, self._heard_at = reply, now
        if last is None or reply.joined:
            is_found = reply.rate > 0 and (reply.source != "none" or self.told == math.inf)
            known = reply if is_found else limiter
            limiter.adopt(known.rate, known.source, now)
            return
        self._check_losses(last, reply, now)
        count = reply.sent - last.sent
        # Not before all could send so many: they may have been idle until then.
        since = max(since, now - count / min(limiter.pace, self.told))
        for place in range(count):
            if reply.pending and now >= self._bound_until:
                limiter.wait(reply.pending)
            limiter.sent(since + (now - since) * (place + 1) / count)
        behind = now - reply.now
        # One that was sent before its member heard of a hold is not the probe after it.
        probes_from = reply.held + behind if reply.probing else -math.inf
        count = reply.accepted - last.accepted
        for place in range(count):
            asked = last.newest + (reply.newest - last.newest) * (place + 1) / count + behind
            limiter.accepted(asked if asked >= probes_from else -math.inf, now)
        for event in reply.events:
            if event.what == "refused":
                limiter.refused(event.at + behind, _read_refusal(event.data), now)
            elif event.at + behind > self._bound_at:  # a header announced it
                rate, seconds = _read_bound(event.data)
                self._bound, self._bound_at = rate, event.at + behind
                self._bound_until = self._bound_at + seconds

    def _check_losses(self, last: Reply, reply: Reply, now: float) -> None:
        """Take back the cuts that a member has caused which was cut off, once it is back.

        Nobody knew what it sent: it left the others less of the limit.
        """
        if reply.lost > last.lost:
            if now > self._lost_at + DOUBT_SECONDS:
                self._limiter.confirm()
            self._limiter.doubt()
            self._lost_at = now
        self._is_back = self._is_back or reply.back > last.back
        if self._is_back and not self._limiter.is_probing:
            self._limiter.withdraw(now)
            self._is_back = False

    def decision(self, now: float) -> Decision:
        """Return what follows from it for all."""
        limiter = self._limiter
        rate, source = min(limiter.pace, self.told), limiter.source
        if now < self._bound_until and self._bound < rate and self.told == math.inf:
            rate, source = self._bound, "header"
        return Decision(
            rate=NO_LIMIT if rate == math.inf else rate,
            source=source,
            held=max(limiter.held_until - now, 0.0),
            probing=limiter.is_probing,
        )

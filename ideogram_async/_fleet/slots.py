"""The moments at which one member sends, of those that all have in common."""

from __future__ import annotations

import math
from typing import NamedTuple

from ideogram_async._limits.told_rate import MADE_UP_SECONDS

GOLDEN = (math.sqrt(5) - 1) / 2
"""Multiples of it, less their whole parts, lie more evenly on a circle than those of any number."""
ROUNDING = 1e-3
"""Part of a slot by which a moment may be rounded."""
MOST_LOOKED_AT = 2000
"""Slots that are looked at for one of the member's own: a share is never less than one in these."""
OTHER_CLOCK_SECONDS = 1.0
"""A greater change of the clocks' difference means another clock: that of the first reply, or of
another server."""


class SlotShare(NamedTuple):
    """Which slots are a member's."""

    rate: float
    """Slots per second of all together."""
    slot: tuple[float, float]
    """The number of the slot at a time on the coordinator's clock."""
    first: float
    """Where the member's part of the circle begins: what those before it have together."""
    share: float


class Slots:
    """At most one query in each of the member's slots; a slot may be used until the next one.

    All count the slots of the common rate on the coordinator's clock. The n-th is of the member in
    whose part of the circle n · golden ratio lies: so each has its share, evenly, and no slot has
    two owners. A gateway that allows no burst sees one even pace, whatever the number of members.

    Times are on the loop's clock; inside on the coordinator's: what is known of their difference
    changes a little with each reply, and no slot must be used twice for that.
    """

    def __init__(self, rate: float) -> None:
        self.opens_at: float = -math.inf
        """When the next query may be sent."""
        self._share = SlotShare(rate, (0.0, 0.0), 0.0, 1.0)
        self._behind = 0.0
        self._after = -math.inf  # the last slot that is used, or lost
        self._waited = False

    @property
    def rate(self) -> float:
        """Queries per second of this member."""
        return self._share.rate * self._share.share

    def wait(self) -> None:
        """Record that a due query waits: only then lateness is made up."""
        self._waited = True

    def sent(self, now: float) -> None:
        """Record that a query goes out."""
        if self._waited:
            self._waited = False
            now -= MADE_UP_SECONDS
        self.skip(now if now > self.opens_at else self.opens_at)  # noqa: FURB136 - no `max`

    def change(self, share: SlotShare, behind: float, now: float) -> None:
        """Go on with other slots; what may be sent now, may be sent still."""
        further = self._behind - behind
        self._behind = behind
        if abs(further) > OTHER_CLOCK_SECONDS:
            self._after += further
        else:
            self.opens_at -= further
        if share != self._share:
            self._share = share
            if self.opens_at > now:
                self.skip(now)

    def begin(self, now: float, slots: float) -> None:
        """Go on with the next slot: a query that just went out without one costs so many."""
        self.skip(max(now, self._after + self._behind + slots / self._share.rate))

    def skip(self, until: float) -> None:
        """Use no slot that begins until then."""
        rate, (number, at), begin, share = self._share
        after = until - self._behind
        if after > self._after:  # noqa: PLR1730 - run for each query: no `max`
            self._after = after
        own = first = (number + (self._after - at) * rate + ROUNDING) // 1 + 1
        while (own * GOLDEN - begin) % 1.0 >= share and own < first + MOST_LOOKED_AT:
            own += 1
        self.opens_at = at + (own - number) / rate + self._behind

"""Whether refusals tell of a limit, or are chance."""

from __future__ import annotations

import math

LUCKY_RUN = 12
"""Queries accepted since a cut, at no higher a rate, that a limit would have refused sooner."""
MARGIN = 1.06
"""A cut leaves 0.95 of what was accepted, so a limit refuses no sooner than this far above it."""
LUCKY_SHARE = 0.12
MEMORY = 1 / 48
"""The share of refusals, of the last 48 or so, up to which they may be bad luck."""
LUCK_ENDS = 300
"""Queries accepted in a row after which refusals tell of a limit again."""


class ChanceDetector:
    """Tells a limit from refusals that have nothing to do with the rate.

    A limit does not refuse again at a rate that was cut below it. Refusals that do come there,
    now and then, are the gateway's own troubles (an upstream that is saturated, say), and to cut
    at each of them would sink the rate for nothing.
    """

    def __init__(self) -> None:
        self.accepted: int = 0
        """How many queries were let through, of all: whoever sees one counts it here."""
        self.run: float = LUCKY_RUN
        """How many queries accepted since a cut make a refusal bad luck; inf for never."""
        self._proven = False
        self._known = False
        self._recent = 0.0
        self._refused_after = 0
        self._cut_after = 0
        self._safe = -math.inf
        self._unhurt = 0.0

    @property
    def proven(self) -> bool:
        """Whether refusals are bad luck, as far as can be told."""
        return self._proven and not self._ended

    @property
    def _ended(self) -> bool:
        return self.accepted - self._refused_after > LUCK_ENDS

    def cut(self, before: float, after: float) -> None:
        """Note a cut of the rate: the first of a row remembers the rate that it hurt."""
        helped = before > MARGIN * self._safe
        self._unhurt = before if helped or self.proven else max(self._unhurt, before)
        # Where nothing was cut, another refusal says nothing of luck.
        self._safe = after if after < before else -math.inf
        self._cut_after, self._proven = self.accepted, False

    def strikes(self, rate: float) -> bool:
        """Note a refusal at a rate; tell whether it was bad luck."""
        if self._ended:
            self._proven = self._known = False
        self._recent *= (1 - MEMORY) ** (self.accepted - self._refused_after)
        self._recent += MEMORY * (1 - self._recent)
        self._refused_after = self.accepted
        if self._recent > LUCKY_SHARE:
            return False
        since_cut = self.accepted - self._cut_after
        if since_cut >= self.run and (self._known or rate <= MARGIN * self._safe):
            self._proven = self._known = True
        return self._proven

    def restored(self, rate: float) -> float:
        """Give the rate that was cut for nothing, once; later the rate as it is."""
        unhurt, self._unhurt = self._unhurt, 0.0
        return max(rate, unhurt)

"""Refusals by chance: whether they suffice to explain a refusal, or a limit must."""

from __future__ import annotations

import math

UNKNOWN_SHARE = 0.002
"""The share of refusals that is put down to chance while nothing is known of it."""
LEAST_SHARE, MOST_SHARE = 0.004, 0.1
"""Bounds of the share once chance is known: by the first a single refusal is never enough to tell
of a limit, by the second a limit cannot pass for chance."""
EXCESS_SHARE, KNOWN_EXCESS_SHARE = 0.1, 0.03
"""The share of refusals, beyond chance, by which a limit shows; where chance is known, 0.03 or as
much as is by chance, if that is more: other clients at a limit must not pass for chance."""
LIMIT_EVIDENCE = 3.9
"""The likelihood ratio, as its logarithm, from which refusals tell of a limit: 50 to 1. That is one
refusal where no chance is known, and three close together where it is 3 %."""
MEMORY_QUERIES, FIRST_WEIGHT_QUERIES = 1000, 15
"""Queries over which the share is counted; so many stand for what is assumed at first."""
SHARE_KEPT_BY_TRIAL = 0.7
"""The part of the share that remains after a trial without a refusal."""
CLUSTER_QUERIES = 300
"""Fewer queries than these accepted since chance was learned: a cluster is a limit's, or peers'."""


class Chance:
    """The share of refusals that do not depend on the rate, and the evidence against chance."""

    def __init__(self) -> None:
        self.is_known: bool = False
        """Whether refusals by chance have shown."""
        self._share = UNKNOWN_SHARE
        self._weight: float = FIRST_WEIGHT_QUERIES
        self.evidence: float = 0.0
        """For a limit: each accepted query takes from it, at whatever rate."""
        self._accepted = 0

    def accepted(self, *, is_safe: bool) -> None:
        """Record an accepted query. `is_safe`: at a rate that a limit was seen to allow."""
        self._accepted += 1
        if is_safe:
            self._count(0)
        if self.evidence:
            less = math.log1p(-self._excess / (1 - self._expected))
            self.evidence = max(0.0, self.evidence + less)

    def refused(self, *, is_safe: bool) -> bool:
        """Record a refusal; return whether it takes a limit to explain it."""
        if is_safe:
            self._count(1)
        self.evidence += math.log(1 + self._excess / self._expected)
        if self.evidence < LIMIT_EVIDENCE:
            return False
        self.evidence = 0.0
        return True

    def learn(self) -> None:
        """Learn that refusals came by chance."""
        self.is_known = True
        self._accepted, self.evidence = 0, 0.0

    def is_refuted(self) -> bool:
        """Return whether a limit shows so soon after chance was learned that it was none."""
        if self.is_known and self._accepted < CLUSTER_QUERIES:
            self.is_known = False
            return True
        return False

    def pass_trial(self) -> None:
        """Record a trial without a refusal: less is by chance than was known."""
        self._share *= SHARE_KEPT_BY_TRIAL
        self.is_known = self.is_known and self._share > UNKNOWN_SHARE

    @property
    def _expected(self) -> float:
        return min(max(self._share, LEAST_SHARE), MOST_SHARE) if self.is_known else UNKNOWN_SHARE

    @property
    def _excess(self) -> float:
        return max(KNOWN_EXCESS_SHARE, self._expected) if self.is_known else EXCESS_SHARE

    def _count(self, refused: int) -> None:
        self._weight = min(self._weight + 1, MEMORY_QUERIES)
        self._share += (refused - self._share) / self._weight

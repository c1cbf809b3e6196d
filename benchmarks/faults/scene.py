"""What a scene is: a story that is played for a seed, and the figures that come of it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import NamedTuple, TypeAlias


class Goal(NamedTuple):
    """One figure of a scene, and what it may be at most."""

    what: str
    figure: float
    at_most: float
    unit: str = ""

    @property
    def holds(self) -> bool:
        """Whether the figure is within its goal."""
        return self.figure <= self.at_most

    @property
    def head(self) -> str:
        """The figure's name with its goal."""
        return f"{self.what} ≤ {self.at_most:g}{self.unit and ' ' + self.unit}"


Scene: TypeAlias = Callable[[int], list[Goal]]
"""From a seed to figures; it starts an event loop of its own, on virtual time."""


def longest(seconds: Iterable[float]) -> float:
    """Return the longest; 0 where there is none."""
    return max(seconds, default=0.0)


def middle(seconds: Iterable[float]) -> float:
    """Return the median; infinite where there is none, since then all were lost."""
    ordered = sorted(seconds)
    return ordered[len(ordered) // 2] if ordered else math.inf


def mean(seconds: Iterable[float]) -> float:
    """Return the mean; infinite where there is none, since then all were lost."""
    listed = list(seconds)
    return sum(listed) / len(listed) if listed else math.inf

"""How fast requests end, and when all will have ended: measured, and rounded."""

from __future__ import annotations

from collections import deque

from ideogram_async.cli._console import counted

WINDOW_SECONDS = 60.0
"""Seconds that an estimate looks back."""
FEWEST_SECONDS = 3.0
FEWEST_ENDS = 5
"""Seconds, and ends, that an estimate needs at least."""
_UNITS = ((86400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


class RateEstimate:
    """The ends of the last minute."""

    def __init__(self) -> None:
        self._looks: deque[tuple[float, int]] = deque()

    def look(self, now: float, ended: int) -> float | None:
        """Record how many have ended by now; return the rate per second, if enough is known."""
        looks = self._looks
        if not looks or now - looks[-1][0] >= 1.0:
            looks.append((now, ended))
        while len(looks) > 1 and now - looks[1][0] >= WINDOW_SECONDS:
            looks.popleft()
        seconds, ends = now - looks[0][0], ended - looks[0][1]
        if seconds < FEWEST_SECONDS or ends < FEWEST_ENDS:
            return None
        return ends / seconds


def rate_in_words(rate: float, one: str, many: str) -> str:
    """Return the rate of things in words: in whole numbers, if it is at least 1."""
    if rate >= 1:
        return f"{counted(round(rate), one, many)} per second"
    return f"{counted(round(60 * rate), one, many)} per minute"


def left_in_words(seconds: float) -> str:
    """Return a time left in words, rounded up to its larger unit."""
    for size, unit in _UNITS:
        if seconds > size:
            count = -int(-seconds // size)
            return f"about {count} {unit}s left"
    return "less than a minute left"


def elapsed_in_words(seconds: float) -> str:
    """Return a time that has passed, to the second: 7 s, 1:07, 1:00:07."""
    minutes, rest = divmod(int(seconds), 60)
    if not minutes:
        return f"{rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"

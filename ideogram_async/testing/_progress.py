"""The course of a request's progress, as it was seen on the wire."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple, TypeAlias

ProgressKind: TypeAlias = Literal[
    "text",
    "linear",
    "absent",
    "steps",
    "stuck",
    "lying",
    "errored",
    "never",
    "moderated",
]


class Progress(NamedTuple):
    """The progress in a record: the percentage (None: the field is missing) and three flags."""

    percentage: float | None
    has_started: bool = True
    is_completed: bool = False
    is_errored: bool = False

    @property
    def ended(self) -> bool:
        """Whether the record has the fields of a finished one."""
        return self.is_completed or (self.percentage or 0) >= 100  # noqa: PLR2004


ProgressFunction: TypeAlias = Callable[[float, float, float], Progress]
"""Takes the seconds since the submission, in the queue, and of work. Returns the progress."""

_DONE = Progress(100, is_completed=True)
_QUEUED = Progress(0, has_started=False)

_TEXT_SILENT, _TEXT_START = 0.07, 0.42
"""Shares of the work after which a text to image request shows progress, and starts (seen)."""
_TEXT_WAITING, _TEXT_FIRST = 56, 6
"""Its percentage just before its start, and at its start (seen)."""
_STUCK_RAMP = 0.3
"""Share of the work after which an upscale shows 99 % (seen)."""


def _running(percentage: float) -> Progress:
    return Progress(max(0, min(99, int(percentage))))


def _along(
    curve: Callable[[float], Progress], *, queued: Progress = _QUEUED, end: Progress = _DONE
) -> ProgressFunction:
    """Return a progress function from a curve, which takes the share of the work that is done."""

    def progress(elapsed: float, queue: float, duration: float) -> Progress:
        if elapsed < queue:
            return queued
        if elapsed >= queue + duration:
            return end
        return curve((elapsed - queue) / duration)

    return progress


def _text(elapsed: float, queue: float, duration: float) -> Progress:
    if elapsed >= queue + duration:
        return _DONE
    start = queue + _TEXT_START * duration
    if elapsed < start:
        silent = _TEXT_SILENT * duration
        waited = (elapsed - silent) / (start - silent)
        return _running(_TEXT_WAITING * waited)._replace(has_started=False)
    share = (elapsed - start) / (queue + duration - start)
    return _running(max(_TEXT_FIRST, 100 * share))


def _lying(share: float) -> Progress:
    return Progress(int(share * 7919) * 37 % 100)


_linear = _along(lambda share: _running(100 * share))

KINDS: Mapping[str, ProgressFunction] = MappingProxyType(
    {
        "text": _text,
        "linear": _linear,
        "absent": _along(lambda _: Progress(None), queued=Progress(None, has_started=False)),
        "steps": _along(lambda share: Progress(25 * int(4 * share))),
        "stuck": _along(lambda share: _running(100 * share / _STUCK_RAMP)),
        "lying": _along(_lying),
        "errored": _along(lambda share: _running(57 * share), end=Progress(57, is_errored=True)),
        "never": _along(lambda share: _running(100 * share), end=Progress(99)),
        "moderated": _linear,
    }
)

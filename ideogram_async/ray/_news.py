"""What a shard tells: results, and whatever the rest of the cluster should know."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from ideogram_async import IdeogramError, RequestError, SamplingRequest, Statistics
from ideogram_async.ray._lessons import Lesson

Result: TypeAlias = SamplingRequest | RequestError


class News(NamedTuple):
    """One item of a shard's stream."""

    results: list[tuple[Result, IdeogramError | None]]
    """What ended, with the cause of an error: pickling alone would lose it."""
    statistics: Statistics
    holds: dict[int, float]
    """Seconds for which its sessions hold for a new refusal, by their places."""
    lessons: list[Lesson]
    ended: IdeogramError | None
    """What ended the shard's run, if anything did."""


def packed(result: Result) -> tuple[Result, IdeogramError | None]:
    """Make a result ready to travel."""
    cause = result.__cause__ if isinstance(result, RequestError) else None
    return result, cause if isinstance(cause, IdeogramError) else None


def unpacked(result: Result, cause: IdeogramError | None) -> Result:
    """Give a result as it was."""
    if isinstance(result, RequestError):
        result.__cause__ = cause
    return result

"""What happened in a scene, line by line: queries, lines of the log, ends."""

from __future__ import annotations

import math
from collections.abc import Iterator

from benchmarks.faults.stage import Stage


def trace(stage: Stage) -> Iterator[str]:
    """Return a line for each thing that happened, in its order."""
    yield f"--- seed {stage.seed}: {len(stage.gateway.queries)} queries, {len(stage.given)} ids"
    happened = [*_queries(stage), *_ends(stage), *((one.at, one.words) for one in stage.log)]
    for at, words in sorted(happened):
        yield f"{at:10.3f}  {words}"


def _queries(stage: Stage) -> Iterator[tuple[float, str]]:
    times: dict[str | None, int] = {}
    for one in stage.gateway.queries:
        times[one.request_id] = times.get(one.request_id, 0) + 1
        outcome = "no answer" if math.isnan(one.answered) else f"{one.status} at {one.answered:.3f}"
        key = "" if one.key is None else f" with {one.key}"
        yield (
            one.at,
            f"asked {_short(one.request_id)}{key}, time {times[one.request_id]}: {outcome}",
        )


def _ends(stage: Stage) -> Iterator[tuple[float, str]]:
    for one, end in stage.ends.items():
        yield end.at, f"ended {_short(one)}: {_told(end.error)}"
    for end in stage.stops:
        yield end.at, f"run ended: {_told(end.error)}"


def _told(error: Exception | None) -> str:
    return "well" if error is None else f"{type(error).__name__}: {error}"


def _short(request_id: str | None) -> str:
    return (request_id or "nothing")[:12]

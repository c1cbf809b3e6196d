"""Requests of many kinds for the loopback gateway, as gateways were seen to have them."""

from __future__ import annotations

import random
from itertools import cycle
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ideogram_async.testing import Gateway, ProgressKind

PROMPTS = (
    "a lighthouse at dawn",
    "a fox in deep snow, film grain",
    "灯台と夜明け、木版画",
    "poster that says GOOD MORNING",
    "an orchard seen from a balloon",
    "a teapot shaped like a snail",
    "a street in Lisbon after rain",
)


class Kind(NamedTuple):
    """A kind of request. Its work takes between two numbers of seconds."""

    progress: ProgressKind
    shortest: float
    longest: float
    model: str
    speed: int = 0
    queue: float = 0.0


KINDS = (
    Kind("text", 1.5, 3, "V_3_0", speed=2),
    Kind("text", 4, 7, "V_3_0"),
    Kind("stuck", 7, 10, "V_2_0"),
    Kind("steps", 3, 6, "V_2_0"),
    Kind("absent", 3, 7, "EXTERNAL_MODEL"),
    Kind("text", 6, 9, "V_4_0", speed=-2, queue=1.5),
    Kind("linear", 2, 5, "V_1_5"),
    Kind("linear", 3, 6, "V_2_1"),
)
"""What gateways were seen to do: fall back at the start, show nothing, stay at 99 %."""


class Samples:
    """A source of requests: those of one seed are the same at every gateway of that seed.

    With a `duration` each takes so many seconds, in place of those that its kind takes.
    """

    def __init__(self, seed: int, duration: float | None = None) -> None:
        self._duration = duration
        self._random = random.Random(seed)  # noqa: S311 - no secret
        self._kinds = cycle(KINDS)

    def submit(self, gateway: Gateway, count: int, *, failing: int = 0) -> list[str]:
        """Submit requests of all kinds in turn, of which so many fail; return their ids."""
        failing_from = count - failing
        return [self._submit(gateway, errored=place >= failing_from) for place in range(count)]

    def _submit(self, gateway: Gateway, *, errored: bool) -> str:
        kind = next(self._kinds)
        drawn = self._random.uniform(kind.shortest, kind.longest)
        return gateway.submit(
            progress=kind.progress,
            duration=drawn if self._duration is None else self._duration,
            queue=kind.queue,
            model_version=kind.model,
            sampling_speed=kind.speed,
            prompt=self._random.choice(PROMPTS),
            errored=errored,
            assets_url=gateway.assets_url,
        )

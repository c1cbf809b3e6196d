"""Requests of many kinds for the loopback gateway, as gateways were seen to have them."""

from __future__ import annotations

import random
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
    """A sort of request, with seconds of work between two bounds."""

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
    Kind("lying", 3, 6, "V_2_1"),
)
"""What gateways were seen to do: fall back at the start, tell nothing, stay at 99 %."""


def submit_samples(gateway: Gateway, count: int, seed: int) -> list[str]:
    """Submit requests of all kinds in turn; give their ids."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = [KINDS[place % len(KINDS)] for place in range(count)]
    return [
        gateway.submit(
            progress=kind.progress,
            duration=chance.uniform(kind.shortest, kind.longest),
            queue=kind.queue,
            model_version=kind.model,
            sampling_speed=kind.speed,
            prompt=chance.choice(PROMPTS),
        )
        for kind in kinds
    ]

"""Whose fault is a fault? One seed of each kind of scene; `python -m benchmarks.faults` has all."""

from __future__ import annotations

import pytest

from benchmarks.faults.scenes import SCENES

SHOWN = [
    "beside/500/20/run/shuffled",
    "beside/429-wait/20/run/shuffled",
    "beside/503-wait/80/waits/sick-first",
    "beside/drop/20/run/shuffled",
    "beside-later/429/50/waits",
    "hung/50/15/run",
    "service/one-by-one/500/50",
    "stray/401/first",
    "one-id/302",
    "real/401/run",
    "spell/invalid-url/minutes",
    "wrong-address/405/waits/1",
    "hiccup/404/1",
    "hiccup/302/2",
    "limit/two-ids",
    "absent/refused/50/run",
    "absent/silent/1/run",
    "absent/no-name/1",
]


OTHER_SEEDS = [
    ("beside-later/429/50/run", 200),  # many known ids are refused for the first time in a row
    ("beside-later/500/50/run", 200),  # probes go to the id that was answered last
    ("service/one-by-one/429/50", 1),  # a cut is taken back as known ids are seen to be spared
    ("service/one-by-one/503/50", 236),  # … and as another id is answered after a sick one left
    ("beside/429-wait/80/run/sick-first", 203),  # the ids that are answered first are complete
]


@pytest.mark.parametrize(("name", "seed"), [*((name, 1) for name in SHOWN), *OTHER_SEEDS], ids=str)
def test_scene(name: str, seed: int) -> None:
    """Every figure of the scene is within its goal."""
    missed = [f"{goal.head}: {goal.figure:g}" for goal in SCENES[name](seed) if not goal.holds]
    assert not missed

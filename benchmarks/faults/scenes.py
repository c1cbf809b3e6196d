"""Every scene by its name, in groups: a module a group, whose first line is its title."""

from __future__ import annotations

from collections.abc import Mapping

from benchmarks.faults import absent, beside, hiccups, limits, reported, service, verdicts
from benchmarks.faults.scene import Scene

GROUPS: Mapping[str, Mapping[str, Scene]] = {
    str(module.__doc__).partition("\n")[0]: module.SCENES
    for module in (reported, beside, service, verdicts, hiccups, limits, absent)
}
"""The scenes by title and name."""

SCENES: Mapping[str, Scene] = {
    name: scene for scenes in GROUPS.values() for name, scene in scenes.items()
}
"""All of them by name."""

FULL: Mapping[str, Scene] = limits.FULL
"""Scenes in full size, which take minutes."""

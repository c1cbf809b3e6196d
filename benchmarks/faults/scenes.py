"""Every scene by its name, in the order of the table."""

from __future__ import annotations

from benchmarks.faults import beside
from benchmarks.faults.scene import Scene

SCENES: dict[str, Scene] = {**beside.SCENES}

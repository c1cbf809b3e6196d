"""All clients that can be measured, by their names."""

from __future__ import annotations

from benchmarks.speed.competitors import COMPETITORS, OBSERVED
from benchmarks.speed.stubbed import STUBBED

ALL_CLIENTS = {**COMPETITORS, **OBSERVED, **STUBBED}

"""Random calls that share ids: `python -m benchmarks.fuzz` plays many seeds, and these are few."""

from __future__ import annotations

import asyncio
import logging

import pytest

from benchmarks.soak.fuzz import fuzz


@pytest.mark.parametrize("seed", range(5))
def test_nothing_is_lost_doubled_hung_or_left(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever callers, schedules, hooks and faults do at once, each id and each call ends once."""
    caplog.set_level(logging.CRITICAL, "ideogram_async")  # hooks and schedules fail on purpose
    outcome = fuzz(seed, eager=hasattr(asyncio, "eager_task_factory") and seed % 2 == 1)
    assert outcome.problems == []
    assert outcome.queries > 20

"""Which lane of the transport the clients of a test use."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ideogram_async._config import Settings

VARIABLE = "IDEOGRAM_TEST_LANE"
"""`plain` has all tests use the plain lane, where they do not say otherwise."""

on_fast_lane = pytest.mark.parametrize("lane", ["fast"], indirect=True)
each_lane = pytest.mark.parametrize("lane", ["fast", "plain"], indirect=True)


def is_plain(lane: str | None) -> bool:
    """Return whether clients use the plain lane."""
    return (lane or os.environ.get(VARIABLE)) == "plain"


def choose_plain(patch: pytest.MonkeyPatch) -> None:
    """Let clients use the plain lane."""
    create: Any = Settings.__init__
    patch.setitem(create.__kwdefaults__, "fast_lane", False)

"""Which lane of the transport the clients of a test use."""

from __future__ import annotations

import os
from typing import Any

import pytest

from ideogram_async._config import Settings

VARIABLE = "IDEOGRAM_TEST_LANE"
"""`plain` has all tests use the plain lane, where they do not say otherwise."""

each_lane = pytest.mark.parametrize("lane", ["fast", "plain"], indirect=True)


def choose(lane: str | None, patch: pytest.MonkeyPatch) -> None:
    if (lane or os.environ.get(VARIABLE)) == "plain":
        create: Any = Settings.__init__
        patch.setitem(create.__kwdefaults__, "fast_lane", False)

"""Set the environment of Ray, which reads it once, before any test of this folder imports Ray."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.commands import Served
from tests.support.ray_nodes import KEY, nodes  # sets it on import


@pytest.fixture(scope="session")
def cluster() -> Iterator[Any]:
    """Start Ray once: its start takes more CPU time than any of its tests."""
    with nodes() as started:
        yield started


@pytest.fixture
def served(cluster: object) -> Iterator[Served]:  # noqa: ARG001 - it must be there
    """Start a gateway."""
    gateway = Served(tokens=[KEY], latency=0.02)
    yield gateway
    gateway.close()

"""A Redis server for all tests of this folder, and a loop whose clock is the real one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.support.redis_server import PROGRAM, RedisServer, redis_server


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutines in real time: Redis has a clock of its own."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """Run a server that no test stops."""
    with _running() as one:
        yield one


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """Run a server that the test may stop."""
    with _running() as one:
        yield one


def _running() -> AbstractContextManager[RedisServer]:
    if PROGRAM is None:
        pytest.skip("redis-server is not installed")
    return redis_server()

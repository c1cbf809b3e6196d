"""A Redis server for all tests of this folder, and a loop whose clock is the real one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.redis_server import PROGRAM, RedisServer, redis_server


@pytest.fixture
def anyio_backend() -> str:
    """Run coroutines in real time: Redis has a clock of its own."""
    return "asyncio"


@pytest.fixture(scope="session")
def server() -> Iterator[RedisServer]:
    """Run a server that no test stops."""
    if PROGRAM is None:
        pytest.skip("redis-server is not installed")
    with redis_server() as one:
        yield one

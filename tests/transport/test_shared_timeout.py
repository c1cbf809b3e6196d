"""The time of attempts: whose cancellation is whose, and one timer for all."""

from __future__ import annotations

import asyncio

import pytest

from ideogram_async._transport.shared_timeout import Deadlines, SharedTimeout

pytestmark = pytest.mark.anyio


async def _attempt(attempts: SharedTimeout, most: float, seconds: float) -> str:
    """Make an attempt as the transport makes one, and say how it ended."""
    task = attempts.begin(asyncio.get_running_loop().time() + most)
    try:
        await asyncio.sleep(seconds)
    except asyncio.CancelledError:
        if not attempts.expired(task):
            raise
        return "late"
    finally:
        attempts.end(task)
    return "in time"


async def test_only_what_takes_too_long_is_ended() -> None:
    """Each attempt has its own time, though one timer serves them all."""
    attempts, loop = SharedTimeout(), asyncio.get_running_loop()
    ended: dict[str, float] = {}

    async def run(name: str, begins: float, seconds: float, expected: str) -> None:
        await asyncio.sleep(begins)
        assert await _attempt(attempts, 10, seconds) == expected
        ended[name] = loop.time()

    async with asyncio.TaskGroup() as group:
        group.create_task(run("quick", 0, 9.5, "in time"))
        group.create_task(run("late", 1, 99, "late"))
        group.create_task(run("later", 4, 99, "late"))
        group.create_task(run("much later", 50, 10.5, "late"))
    assert ended == {"quick": 9.5, "late": 11, "later": 14, "much later": 60}


async def test_a_worker_goes_on_after_a_late_attempt() -> None:
    """What expired leaves no cancellation behind: the same task makes the next attempt."""
    attempts = SharedTimeout()
    assert [await _attempt(attempts, 1, n) for n in (5, 0.5, 5)] == ["late", "in time", "late"]
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


@pytest.mark.parametrize("first", ["the caller", "the time"])
async def test_a_cancellation_at_the_same_moment_goes_on(first: str) -> None:
    """A caller's cancellation is never taken for the attempt's time, whichever comes first."""
    attempts, loop = SharedTimeout(), asyncio.get_running_loop()
    begin = asyncio.Event()

    async def attempt() -> str:
        await begin.wait()
        return await _attempt(attempts, 1, 5)

    task = loop.create_task(attempt())
    if first == "the caller":
        loop.call_at(1.0, task.cancel)
    begin.set()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    if first == "the time":
        loop.call_at(1.0, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_swallowed_cancellation_does_not_linger() -> None:
    """Where code below swallows the cancellation the attempt's end takes it back."""
    attempts = SharedTimeout()
    task = attempts.begin(1.0)
    try:
        await asyncio.sleep(5)
    except asyncio.CancelledError:
        pass
    finally:
        attempts.end(task)
    assert task.cancelling() == 0


async def test_no_timer_is_left() -> None:
    """Closed, nothing looks at attempts any more."""
    attempts = SharedTimeout()
    task = attempts.begin(1.0)
    attempts.close()
    await asyncio.sleep(5)
    attempts.end(task)
    assert not task.cancelling()


async def test_each_deadline_is_its_own() -> None:
    """Whatever the order in which they are added, and whichever is discarded."""
    loop = asyncio.get_running_loop()
    expired: dict[str, float] = {}

    def expire(name: str) -> None:
        expired[name] = loop.time()

    deadlines = Deadlines(expire)
    for name, when in (("last", 9.0), ("first", 2.0), ("gone", 3.0), ("middle", 5.0)):
        deadlines.add(name, when)
    assert deadlines.discard("gone")
    assert not deadlines.discard("gone")
    await asyncio.sleep(20)
    assert expired == {"first": 2.0, "middle": 5.0, "last": 9.0}

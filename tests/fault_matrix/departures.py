"""What callers do: cancel, leave, close, fork, interrupt, dawdle: scenes of the fault matrix."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import aclosing
from typing import Any, NoReturn, cast

import anyio
import anyio.to_thread
import pytest

from ideogram_async import ClientClosed, FixedInterval, IdeogramClient, Observation, RequestError
from ideogram_async.testing import VirtualTimeLoop
from tests.fault_matrix.scene import IDS, LATENCY, LIMIT, WELL, Outcome, Play, Scene, answered
from tests.support import programs
from tests.support.calls import Call
from tests.support.raw_server import End, Query, Step, record, reply

PLAIN: dict[str, Any] = {"max_in_flight": LIMIT}
NEVER = [f"never-{number}" for number in range(12)]


async def _check_silent(scene: Scene) -> None:
    gc.collect()
    await anyio.sleep(LATENCY * 2)
    assert scene.client.statistics().pending == 0
    asked = len(scene.server.queries)
    await anyio.sleep(60)
    assert len(scene.server.queries) == asked


def _never(scene: Scene) -> list[str]:
    scene.server.ends.update(dict.fromkeys(NEVER, 1e9))
    return NEVER


# Cancelled, left, closed


def cancelled_at_every_await(call: Call) -> Play:
    """Cancel a call at many moments, after each number of turns of the loop."""

    async def play(scene: Scene) -> None:
        ids = _never(scene)
        for moment in (0.0, LATENCY, 1.0 + LATENCY, 1.0 + 2 * LATENCY):
            for turns in range(12):
                task = asyncio.ensure_future(call(scene.client, ids))
                await asyncio.sleep(moment)
                for _ in range(turns):
                    await asyncio.sleep(0)
                await _cancel(task)
        await _check_silent(scene)
        assert len(scene.server.queries) > 40

    return play


async def _cancel(task: asyncio.Future[object]) -> None:
    task.cancel()
    started = anyio.current_time()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert anyio.current_time() == started


class _OwnError(Exception):
    """The caller's own."""


async def _break(scene: Scene) -> None:
    async for _ in scene.client.as_completed(["quick", *_never(scene)]):
        break
    await _check_silent(scene)


async def _break_in_a_block(scene: Scene) -> None:
    async with scene.client.as_completed(["quick", *_never(scene)]) as completed:
        async for _ in completed:
            break
    assert set(completed.pending) == set(NEVER)
    await _check_silent(scene)


async def _raise(scene: Scene) -> None:
    with pytest.raises(_OwnError) as caught:
        async for _ in scene.client.as_completed(["quick", *_never(scene)]):
            raise _OwnError
    del caught
    await _check_silent(scene)


async def _raise_in_a_block(scene: Scene) -> None:
    completed = scene.client.as_completed(["quick", *_never(scene)])
    with pytest.raises(_OwnError):
        async with completed:
            async for _ in completed:
                raise _OwnError
    assert set(completed.pending) == set(NEVER)
    await _check_silent(scene)


async def _generator_exit(scene: Scene) -> None:
    async def results() -> AsyncIterator[object]:
        async for request in scene.client.as_completed(["quick", *_never(scene)]):
            yield request

    async with aclosing(cast("Any", results())) as generator:
        await anext(generator)
    del generator
    await _check_silent(scene)


async def _timeout(scene: Scene) -> None:
    for call in (scene.client.wait, scene.client.retrieve):
        scene.server.default = lambda _: [End.HANG]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2):
                await call(_never(scene)[0])
        scene.server.default = answered(scene.server)
    await _check_silent(scene)


async def _task_group(scene: Scene) -> None:
    async def fail() -> NoReturn:
        await asyncio.sleep(3)
        raise _OwnError

    async def poll() -> None:
        async for _ in scene.client.as_completed(_never(scene)):
            raise AssertionError

    with pytest.raises(ExceptionGroup) as caught:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(poll())
            tasks.create_task(scene.client.wait(NEVER[0]))
            tasks.create_task(fail())
    assert [type(error) for error in caught.value.exceptions] == [_OwnError]
    await _check_silent(scene)


LEAVING: dict[str, Play] = {
    "break": _break,
    "break in a block": _break_in_a_block,
    "raise": _raise,
    "raise in a block": _raise_in_a_block,
    "GeneratorExit": _generator_exit,
    "asyncio.timeout": _timeout,
    "a task group's sibling fails": _task_group,
}


async def closed(scene: Scene) -> None:
    """Close the client under queries that hang."""
    scene.server.default = lambda _: [End.HANG]
    loop, closing, outcome = asyncio.get_running_loop(), 0.0, Outcome()

    async def close() -> None:
        nonlocal closing
        await anyio.sleep(2)
        started = loop.time()
        await scene.client.close()
        closing = loop.time() - started

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(close)
        outcome = await scene.run()
    assert isinstance(outcome.error, ClientClosed)
    assert set(outcome.error.pending) == set(IDS)
    assert closing < 5


def interrupted(body: str) -> Play:
    """Send SIGINT to a process that polls."""

    async def play(_: Scene) -> None:
        await anyio.to_thread.run_sync(programs.interrupt, body)

    return play


async def interrupted_once(_: Scene) -> None:
    """Send SIGINT to a process that polls: it leaves nothing that Python complains about."""
    err = await anyio.to_thread.run_sync(programs.interrupt, programs.POLLS, "-X", "dev")
    noise = ("was destroyed", "never retrieved", "Unclosed", "unclosed", "never awaited")
    assert [words for words in noise if words in err] == []


# The caller's own code and ids


class SickSchedule(FixedInterval):
    """A schedule that fails for one id."""

    def __init__(self) -> None:
        super().__init__(1.0)

    def next_delay(self, state: None, seen: Observation) -> float:
        """Fail for the sick id."""
        if seen.record.request_id == "sick":
            raise _OwnError
        return super().next_delay(state, seen)


async def sick_schedule(scene: Scene) -> None:
    """A user's schedule raises."""
    scene.server.ends["sick"] = 5.0
    outcome = await scene.run()
    assert type(outcome.failed["sick"]) is RequestError
    assert isinstance(outcome.failed["sick"].__cause__, _OwnError)
    assert outcome.done.keys() == {"well", "quick"}


async def sick_source(scene: Scene) -> None:
    """A source of ids raises after some."""

    async def source() -> AsyncIterator[str]:
        for request_id in IDS:
            yield request_id
        raise _OwnError

    done = []
    with pytest.raises(_OwnError):
        async for request in scene.client.as_completed(source()):
            done.append(str(request.request_id))
    assert sorted(done) == sorted(IDS)


async def bad_ids(scene: Scene) -> None:
    """An async source gives what is no id."""

    async def source() -> AsyncIterator[Any]:
        for request_id in (*IDS, None, "", 5):
            yield request_id

    ends = [end async for end in scene.client.as_completed(source(), return_exceptions=True)]
    assert sorted(str(end.request_id) for end in ends if not isinstance(end, RequestError)) == (
        sorted(IDS)
    )
    assert len(ends) == 6


# Clocks


def wall_clock(days: int) -> Play:
    """The wall clock jumps while all is polled."""

    async def play(scene: Scene) -> None:
        real, loop = time.time, asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            loop.call_later(6, patch.setattr, time, "time", lambda: real() + days * 86_400)
            scene.server.ends["well"] = WELL
            outcome = await scene.run()
        assert outcome.done.keys() == set(IDS)
        assert WELL <= outcome.done["well"] <= WELL + 1.2
        assert scene.longest_gap("well") <= 1.2

    return play


async def suspended(scene: Scene) -> None:
    """The process sleeps for an hour."""
    loop = cast("VirtualTimeLoop", asyncio.get_running_loop())
    ids, outcome = [f"id-{number}" for number in range(60)], Outcome()
    scene.server.ends.update(dict.fromkeys(ids, 3000.0))

    async def sleep() -> None:
        await anyio.sleep(30)
        loop._now += 3600

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sleep)
        outcome = await scene.run(*ids)
    assert outcome.done.keys() == set(ids)
    assert len(set(outcome.done.values())) > 10  # not all at one moment
    assert loop.time() < 3660


# Other places


async def another_thread(scene: Scene) -> None:
    """Everything is called from another thread's loop."""
    run = scene.client.as_completed(_never(scene))

    async def shared_ids() -> None:
        await _check_refused(scene.client, "another event loop")
        for leave in (run.aclose, run.__anext__):
            with pytest.raises(RuntimeError, match="another event loop"):
                await leave()

    await anyio.to_thread.run_sync(lambda: asyncio.run(shared_ids()))
    assert (await scene.client.retrieve("quick")).is_complete
    assert len(run.pending) == len(NEVER)
    await run.aclose()


async def _check_refused(client: IdeogramClient, words: str) -> None:
    for call in (client.retrieve("id"), client.wait("id"), client.close()):
        with pytest.raises(RuntimeError, match=words):
            await call
    for many in (client.as_completed, client.retrieve_many, client.watch):
        with pytest.raises(RuntimeError, match=words):
            many(["id"])


async def another_loop(scene: Scene) -> None:
    """Everything is called in a second loop of one thread, while the first one rests."""
    client = IdeogramClient("http://127.0.0.1:9")

    def run() -> None:
        with asyncio.Runner() as first:
            first.run(client.__aenter__())
            asyncio.run(_check_refused(client, "another event loop"))
            first.run(client.close())

    await anyio.to_thread.run_sync(run)
    assert (await scene.client.retrieve("quick")).is_complete


async def forked(_: Scene) -> None:
    """Everything is called in a forked child."""

    def fork() -> tuple[str, str]:
        return programs.program(programs.FORK, "-X", "dev").communicate(timeout=30)

    out, err = await anyio.to_thread.run_sync(fork)
    assert (out.strip(), err) == ("well", "")


async def after_closing(scene: Scene) -> None:
    """Everything is called on a closed client."""
    run = scene.client.as_completed(_never(scene))
    await scene.client.close()
    calls: list[Coroutine[Any, Any, object]] = [
        scene.client.retrieve("id"),
        scene.client.wait("id"),
        cast("Any", run.__anext__()),
    ]
    async with asyncio.timeout(1):
        for call in calls:
            assert isinstance(await scene.raised(call), ClientClosed)
    for many in (scene.client.as_completed, scene.client.retrieve_many, scene.client.watch):
        with pytest.raises(ClientClosed):
            many(["id"])


# Slow consumers


async def slow_consumer(scene: Scene) -> None:
    """One caller takes a hundred times as long for a result as results take to come."""
    ids = [f"id-{number}" for number in range(30)]
    slow: list[str] = []

    async def dawdle() -> None:
        async for request in scene.client.as_completed(ids):
            slow.append(str(request.request_id))
            await anyio.sleep(100 * LATENCY)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(dawdle)
        outcome = await scene.run(*IDS, *ids)
        assert outcome.done["well"] <= WELL + 1.2
        assert len(slow) < 10
    assert sorted(slow) == sorted(ids)


async def slow_watcher(scene: Scene) -> None:
    """One caller looks at changes a hundred times as seldom as they come."""
    seen: dict[str, int] = dict.fromkeys(IDS, 0)
    last: dict[str, bool] = {}

    def play(query: Query) -> list[Step]:
        done = query.at >= scene.server.ends.get(query.request_id, 0.0)
        return [LATENCY, reply(record(query.request_id, 100 if done else int(4 * query.at)))]

    scene.server.default = play
    scene.server.ends["well"] = 20.0
    async for request in scene.client.watch(IDS):
        seen[str(request.request_id)] += 1
        last[str(request.request_id)] = request.is_complete
        await anyio.sleep(100 * LATENCY)
    assert last == dict.fromkeys(IDS, True)
    assert len(scene.asked("well")) >= 15  # each with news
    assert seen["well"] <= 6

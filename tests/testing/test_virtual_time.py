"""The loop on virtual time: jumps, threads, signals and transcripts."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import threading
import time
from typing import TYPE_CHECKING, cast

import anyio
import anyio.to_thread
import pytest
from aiohttp import ClientSession, TCPConnector

from ideogram_async.testing import PATH, Gateway, VirtualTimeLoop, run_in_virtual_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.anyio


def _virtual_loop() -> VirtualTimeLoop:
    return cast("VirtualTimeLoop", asyncio.get_running_loop())


async def test_an_hour_passes_at_once() -> None:
    """An hour of waiting costs next to no real time."""
    started = time.perf_counter()
    await asyncio.sleep(3600)
    assert time.perf_counter() - started < 0.5
    assert _virtual_loop().time() == anyio.current_time() == 3600


async def test_timers_fire_in_order_at_their_times() -> None:
    """Each timer fires at exactly its own time, however close the next one is."""
    loop, fired = _virtual_loop(), list[tuple[float, float]]()
    times = [0.3, 5e-10, 0.1, 0.1 + 0.2, math.nextafter(0.1, 1.0), 7.7, 1e9]

    def fire(when: float) -> None:
        fired.append((when, loop.time()))

    for when in times:
        loop.call_at(when, fire, when)
    await asyncio.sleep(1e9 + 1)
    assert fired == [(when, when) for when in sorted(times)]


async def test_no_drift_over_many_timers() -> None:
    """The clock lands on the very times that were asked for, ten thousand times over."""
    loop = _virtual_loop()
    for step in range(1, 10_001):
        asked = loop.time() + step * 0.1
        event = asyncio.Event()
        loop.call_at(asked, event.set)
        await event.wait()
        assert loop.time() == asked


async def test_a_timer_works_after_a_century() -> None:
    """Far from zero, where a nanosecond is lost to rounding, timers still fire."""
    await asyncio.sleep(100 * 365 * 86_400)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await asyncio.Event().wait()


async def test_a_timer_at_infinity_is_never() -> None:
    """Sleeping for ever neither ends nor moves the clock: not even if nothing else is due."""
    loop, done = _virtual_loop(), asyncio.Event()
    sleeper = asyncio.create_task(asyncio.sleep(math.inf))
    await asyncio.sleep(5)
    threading.Timer(0.05, loop.call_soon_threadsafe, [done.set]).start()
    await done.wait()
    assert not sleeper.done()
    assert loop.time() == 5
    sleeper.cancel()


async def _in_asyncio_thread(work: Callable[[], None]) -> None:
    await asyncio.to_thread(work)


async def _in_anyio_thread(work: Callable[[], None]) -> None:
    await anyio.to_thread.run_sync(work)


async def _in_executor(work: Callable[[], None]) -> None:
    await _virtual_loop().run_in_executor(None, work)


async def _in_several_threads(work: Callable[[], None]) -> None:
    async with asyncio.TaskGroup() as group:
        for run in (_in_asyncio_thread, _in_anyio_thread, _in_executor):
            group.create_task(run(work))


THREADS = [_in_asyncio_thread, _in_anyio_thread, _in_executor, _in_several_threads]


@pytest.mark.parametrize("run", THREADS)
async def test_the_clock_stands_while_a_thread_works(
    run: Callable[[Callable[[], None]], Awaitable[None]],
) -> None:
    """A thread that works in real time does not meet a timeout in virtual time."""
    for _ in range(3):
        async with asyncio.timeout(30):
            await run(lambda: time.sleep(0.05))
    assert _virtual_loop().time() == 0


@pytest.mark.parametrize("run", THREADS)
async def test_the_clock_goes_on_after_a_thread(
    run: Callable[[Callable[[], None]], Awaitable[None]],
) -> None:
    """An idle worker thread does not hold the clock."""
    await run(lambda: None)
    started = time.perf_counter()
    await asyncio.sleep(3600)
    assert time.perf_counter() - started < 0.5


async def test_an_abandoned_thread_still_holds_the_clock() -> None:
    """Cancelling the wait for a thread does not end its work, so the clock stands on."""
    started, ended = threading.Event(), threading.Event()

    def work() -> None:
        started.set()
        time.sleep(0.05)
        ended.set()

    task = asyncio.create_task(asyncio.to_thread(work))
    await asyncio.sleep(0)
    started.wait()
    task.cancel()
    await asyncio.sleep(30)
    assert ended.is_set()


def test_unknown_worker_threads_are_refused() -> None:
    """If anyio's worker threads cannot be told busy from idle, an error says so."""
    ended = threading.Event()
    threading.Thread(target=ended.wait, name="AnyIO worker thread").start()
    try:
        with pytest.raises(RuntimeError, match="this version of anyio"):
            run_in_virtual_time(asyncio.sleep, 1)
    finally:
        ended.set()


async def test_a_name_look_up_holds_the_clock() -> None:
    """The resolver's thread is waited for too."""
    async with asyncio.timeout(30):
        await _virtual_loop().getaddrinfo("localhost", 80)
    assert _virtual_loop().time() == 0


async def test_the_clock_can_be_held() -> None:
    """Work that the loop cannot see, as in a thread of one's own, is waited for."""
    loop, done = _virtual_loop(), asyncio.Event()

    def work() -> None:
        time.sleep(0.05)
        loop.call_soon_threadsafe(done.set)

    with loop.standing():
        threading.Thread(target=work).start()
        async with asyncio.timeout(30):
            await done.wait()
    assert loop.time() == 0


async def test_a_thread_wakes_an_idle_loop() -> None:
    """With nothing scheduled the loop waits in real time, and a thread can wake it."""
    loop, done = _virtual_loop(), asyncio.Event()
    threading.Timer(0.05, loop.call_soon_threadsafe, [done.set]).start()
    await done.wait()
    assert loop.time() == 0


async def test_real_input_and_output() -> None:
    """Bytes between two sockets of the loop arrive before the clock jumps."""
    loop = _virtual_loop()
    here, there = socket.socketpair()
    with here, there:
        here.setblocking(False)
        there.setblocking(False)
        async with asyncio.timeout(0.001):
            for _ in range(1000):
                receiving = asyncio.create_task(loop.sock_recv(there, 1))
                await asyncio.sleep(0)
                await loop.sock_sendall(here, b"x")
                assert await receiving == b"x"
    assert loop.time() == 0


def test_the_executor_is_shut_down_without_a_jump(recwarn: pytest.WarningsRecorder) -> None:
    """A thread that outlives the program is waited for in real time, without a warning."""
    ended = threading.Event()

    def work() -> None:
        time.sleep(0.05)
        ended.set()

    async def main() -> None:
        _virtual_loop().run_in_executor(None, work)

    run_in_virtual_time(main)
    assert ended.is_set()
    assert not recwarn.list


@pytest.mark.parametrize("timers", [0, 10**9])
def test_an_interrupt_is_heard(timers: int) -> None:
    """SIGINT ends a program that waits, or that jumps from timer to timer."""

    async def main() -> None:
        threading.Timer(0.05, os.kill, [os.getpid(), signal.SIGINT]).start()
        for _ in range(timers):
            await asyncio.sleep(1)
        await asyncio.Event().wait()

    with pytest.raises(KeyboardInterrupt):
        run_in_virtual_time(main)


def test_an_argument_and_a_result() -> None:
    """run_in_virtual_time passes arguments on and returns the result."""

    async def later(seconds: float) -> float:
        await asyncio.sleep(seconds)
        return _virtual_loop().time()

    assert run_in_virtual_time(later, 12.5) == 12.5


async def _transcript(ids: int) -> list[object]:
    """Poll many ids to their end over HTTP, and return what happened and when."""
    loop, happened = _virtual_loop(), list[object]()

    async def poll(session: ClientSession, request_id: str) -> None:
        percentage = 0
        while percentage < 100:
            async with session.post(PATH, json={"request_id": request_id}) as answer:
                (record,) = (await answer.json())["sampling_requests"]
            percentage = record["completion_percentage"]
            happened.append((loop.time(), request_id, percentage))
            await asyncio.sleep(1.5)

    async with (
        Gateway(latency=(0.05, 0.15)) as gateway,
        ClientSession(gateway.url, connector=TCPConnector(limit=20)) as session,
        asyncio.TaskGroup() as group,
    ):
        for _ in range(ids):
            group.create_task(poll(session, gateway.submit()))
    return [*happened, *((query.at, query.connection) for query in gateway.queries)]


def test_the_same_transcript_every_time() -> None:
    """Thirty ids, polled over HTTP, leave the same transcript twice."""
    first, second = (run_in_virtual_time(_transcript, 30) for _ in range(2))
    assert len(first) > 300
    assert first == second

"""Programs that run in a process of their own: they fork, or are interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys
import time


def program(body: str, *options: str) -> subprocess.Popen[str]:
    """Start a program."""
    command = [sys.executable, *options, "-W", "ignore::DeprecationWarning", "-c", body]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)  # noqa: S603 - its own


def interrupt(body: str, *options: str) -> str:
    """Send SIGINT to a program that polls; it ends promptly by it. Give what it says of that."""
    process = program(body, *options)
    assert process.stdout is not None
    assert process.stdout.readline() == "polling\n"
    started = time.perf_counter()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert time.perf_counter() - started < 5
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in err
    return err


FORK = """
import asyncio, os
from ideogram_async import IdeogramClient
from ideogram_async.testing import Gateway

async def child(client, run):
    for call in (client.retrieve, client.wait):
        try:
            await call("id")
        except RuntimeError as error:
            assert "fork" in str(error), error
        else:
            raise AssertionError
    for leave in (client.close, run.aclose, run.__anext__):
        try:
            await leave()
        except RuntimeError:
            pass
        else:
            raise AssertionError

def fork(client, run):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    try:
        asyncio.events._set_running_loop(None)
        asyncio.run(child(client, run))
    except BaseException:
        import traceback
        traceback.print_exc()
        os._exit(1)
    os._exit(0)

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60  # a busy machine is no news
    async with Gateway(latency=0.01) as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(progress="never") for _ in range(3)]
        await client.retrieve(ids[0])
        run = client.as_completed(ids)
        assert fork(client, run) == 0
        await client.retrieve(ids[0])
        await run.aclose()
    print("well")

asyncio.run(main())
"""
"""What forks while it polls, and calls everything in the child."""

POLLS = """
import asyncio
from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.testing import Gateway

async def main():
    async with (
        Gateway(latency=0.02) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(0.05)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(50)]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(client.wait(ids[0]))
            tasks.create_task(asyncio.sleep(0.3)).add_done_callback(
                lambda _: print("polling", flush=True))
            async for request in client.as_completed(ids):
                pass

asyncio.run(main())
"""
"""What polls, until it is interrupted."""

AGAIN = """
import asyncio, signal
from ideogram_async._polling.task_group import TaskGroup

async def clean_up():
    try:
        await asyncio.Event().wait()
    finally:
        signal.raise_signal(signal.SIGINT)

ended, lost = TaskGroup._ended, []

def interrupted(self, task):
    lost.append(task)
    if len(lost) == 1:
        signal.raise_signal(signal.SIGINT)
    ended(self, task)
"""
SIGINT_AGAIN = {
    "while the caller cleans up": AGAIN
    + POLLS.replace("as tasks:", "as tasks:\n            tasks.create_task(clean_up())"),
    "as a worker ends": AGAIN + "TaskGroup._ended = interrupted\n" + POLLS,
}
"""What polls, until it is interrupted: the second time at a moment of its own choosing."""

"""The tasks of one dispatcher, which begin and end with it.

An `asyncio.TaskGroup` but for its end. That one waits for the callback of each task: where a second
SIGINT is raised within such a callback it waits for ever, and the program hangs at exit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from contextvars import Context
from typing import Any, Self

from ideogram_async._logging import logger

LOOK_SECONDS = 1.0
"""Seconds between looks at which tasks have ended, should no callback have run."""


def start_later(
    coroutine: Coroutine[Any, Any, None],
    loop: asyncio.AbstractEventLoop,
    *,
    name: str,
    context: Context | None = None,
) -> asyncio.Task[None]:
    """Start a task that has its first turn later, whatever the loop's task factory does.

    `asyncio.eager_task_factory` runs a task at once, within the call that starts it: a worker that
    wakes the next would nest as deep as there are workers.
    """
    return asyncio.Task(coroutine, loop=loop, name=name, context=context)


class TaskGroup:
    """Tasks that are cancelled and awaited at the block's end; a failing one cancels the block."""

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._parent = asyncio.current_task()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        while self._tasks:
            with suppress(asyncio.CancelledError):  # it is ending already
                await asyncio.wait(tuple(self._tasks), timeout=LOOK_SECONDS)
            self._tasks = {task for task in self._tasks if not task.done()}

    def create_task(
        self, coroutine: Coroutine[Any, Any, None], *, name: str, context: Context | None = None
    ) -> None:
        """Start a task; it has its first turn later."""
        task = start_later(coroutine, self._loop, name=name, context=context)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and self._parent is not None:
            logger.error("a task of the client failed: it stops", exc_info=error)
            self._parent.cancel()

"""The parts of a started client, and how they are closed."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from typing import Any, cast

import anyio

from ideogram_async._config import CLOSE_SECONDS, Settings
from ideogram_async._downloads.downloader import Downloader
from ideogram_async._errors import ClientClosed
from ideogram_async._limiter import BackgroundLimiter, check_cancelled
from ideogram_async._limits.pool import SessionPool
from ideogram_async._logging import logger
from ideogram_async._polling.dispatcher import Dispatcher
from ideogram_async._polling.tracker import JobTracker
from ideogram_async._schedules.base import Schedule
from ideogram_async._statistics import Statistics
from ideogram_async._transport.transport import Transport

LIMITER_PAUSE_SECONDS = 5.0
"""Seconds after which a limiter's task is started again, if it has ended."""


async def until_done(task: asyncio.Task[None] | None) -> None:
    """Wait for the end of a task, if there is one. A cancellation of the caller is raised after it.

    A scope's shield does not hold off a plain `Task.cancel`, so the wait is repeated.
    """
    cancelled: asyncio.CancelledError | None = None
    with anyio.CancelScope(shield=True):
        while task is not None and not task.done():
            try:
                await asyncio.shield(task)
            except asyncio.CancelledError as error:
                cancelled = error
    if cancelled is not None:
        raise cancelled


class Runtime:
    """The parts of a started client. They belong to one event loop of one process."""

    @classmethod
    def current(
        cls, runtime: Runtime | None, settings: Settings, schedule: Schedule[Any]
    ) -> Runtime:
        """Return the runtime, or a new one at the first call.

        Raises:
            RuntimeError: There is no running loop, or the runtime belongs to another loop or
                process.
            ClientClosed: The runtime's tasks were cancelled.

        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("no running event loop: call it from a coroutine") from None
        if runtime is None:
            return cls(settings, schedule, loop)
        runtime.check_place(loop)
        if runtime.dispatcher.stopped:
            raise ClientClosed("the client's tasks were cancelled: make a new one")
        return runtime

    def __init__(
        self, settings: Settings, schedule: Schedule[Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.loop = loop
        self._settings = settings
        self._downloader: Downloader | None = None
        self._pid = os.getpid()
        self._pool = SessionPool(settings)
        self._transport = Transport(
            settings, lambda index: self._pool.replayed(index, self.loop.time())
        )
        self.tracker = JobTracker(self._pool, schedule, max_faults=settings.max_faults)
        self.dispatcher = Dispatcher(
            self._transport.query,
            self.tracker,
            self._pool,
            max_in_flight=settings.max_in_flight,
            connect_timeout=settings.connect_timeout,
        )
        limiter: Any = settings.limiter
        if hasattr(limiter, "attach"):
            limiter.attach(schedule, self.tracker.registry.queue.count_due)
        if hasattr(limiter, "run"):
            self.dispatcher.spawn(self._run_limiter, "ideogram_async limiter")

    async def _run_limiter(self) -> None:
        """Run the limiter's own task until the dispatcher ends."""
        limiter = cast("BackgroundLimiter", self._settings.limiter)
        while True:
            try:
                await limiter.run(self._settings.budget)
                logger.error("the limiter's task has ended")
            except Exception:  # noqa: BLE001 - of a user, be it what it may
                logger.exception("the limiter's task has failed")
            check_cancelled()  # as it failed, which hid it
            await anyio.sleep(LIMITER_PAUSE_SECONDS)

    @property
    def downloader(self) -> Downloader:
        """The downloader of images, created at its first use."""
        if self._downloader is None:
            self._downloader = Downloader(
                self._settings.downloads,
                proxy=self._settings.proxy,
                connect_timeout=self._settings.connect_timeout,
                user_agent=self._settings.user_agent,
            )
        return self._downloader

    def check_place(self, loop: asyncio.AbstractEventLoop) -> None:
        """Raise `RuntimeError` in another process, thread or event loop."""
        if os.getpid() != self._pid:
            raise RuntimeError("the client was started before a fork: make one in each process")
        if loop is not self.loop:
            raise RuntimeError(
                "the client belongs to another event loop: make one in each loop and thread"
            )

    def statistics(self) -> Statistics:
        """Return the client's present figures."""
        sessions = self._pool.statistics(self.loop.time())
        lane, reason = self._transport.lane
        return Statistics(
            queries=sum(session.queries for session in sessions),
            in_flight=sum(session.in_flight for session in sessions),
            pending=self.tracker.registry.pending,
            completed=self.tracker.completed,
            failed=self.tracker.failed,
            failing=self.tracker.registry.failing,
            refused=sum(session.refused for session in sessions),
            sessions=sessions,
            lane=lane,
            lane_reason=reason,
        )

    def hold(self, seconds: float, session: int) -> None:
        """Pause a session, because another process with its key was refused."""
        self._pool.hold(session, seconds, self.loop.time())

    def start_closing(self) -> asyncio.Task[None]:
        """Return a task that closes everything. A cancelled caller does not cancel it."""
        self.check_place(asyncio.get_running_loop())
        return self.loop.create_task(self.close(), name="ideogram_async closing")

    async def close(self) -> None:
        """End all calls, tasks and connections."""
        self.tracker.end_all(ClientClosed("the client was closed"))
        with anyio.move_on_after(CLOSE_SECONDS):
            try:
                await self.dispatcher.close()
            finally:
                await self._transport.close()
                if self._downloader is not None:
                    await self._downloader.close()

    def abandon(self) -> None:
        """Close without waiting, after the client was garbage-collected."""
        if os.getpid() != self._pid:
            return  # after a fork: the loop's wake-up pipe is shared with the parent
        with suppress(RuntimeError):  # the loop is closed, so no task runs
            self.loop.call_soon_threadsafe(lambda: self.loop.create_task(self.close()))

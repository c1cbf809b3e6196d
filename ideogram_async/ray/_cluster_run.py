"""What goes on in a run on Ray: ids are dealt to shards, and each comes back once."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar, cast

import anyio
import anyio.to_thread

from ideogram_async import (
    AuthenticationError,
    ClientClosed,
    IdeogramError,
    PollingFailed,
    RequestError,
    RunStatistics,
    Statistics,
    WaitTimeout,
)
from ideogram_async.ray import _cluster
from ideogram_async.ray._budget import divide
from ideogram_async.ray._completion_samples import learn
from ideogram_async.ray._errors import ShardLost
from ideogram_async.ray._run_options import RunOptions
from ideogram_async.ray._shard_proxy import ShardProxy
from ideogram_async.ray._source import Ids, Source

if TYPE_CHECKING:
    from ideogram_async.ray._completion_samples import CompletionSample
    from ideogram_async.ray._shard_report import Result

T = TypeVar("T")

CLOSE_BUDGET = 5.0
"""Seconds that leaving may take where the caller's own source of ids lingers."""


LESSONS_EVERY = 1.0
"""Seconds between two deliveries of what other shards have seen."""


class ClusterRun(Generic[T]):
    """The run's ledger: whose each id is, what has come back, and what the caller has had."""

    def __init__(self, ids: Ids, options: RunOptions) -> None:
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.options = options
        self.failures: list[RequestError] = []
        self._taken = self._completed = self._yielded = 0
        self._ready: deque[tuple[object, Result]] = deque()
        self._listeners: list[asyncio.Future[None]] = []
        self._end: Exception | None = None
        self._closed = self._told = False
        self._left: tuple[str, ...] = ()
        self._over = asyncio.Event()
        self._refused: set[int] = set()
        orders = options.orders
        shares = divide(options.shards, orders.keys, orders.max_in_flight, orders.max_rate)
        self._proxies = [ShardProxy(place, share, self) for place, share in enumerate(shares)]
        self._source = Source(ids, options.max_pending, self._accept)
        self._timer: asyncio.TimerHandle | None = None
        if options.timeout is not None:
            self._timer = self.loop.call_later(options.timeout, self._time_out)
        self._work = self.loop.create_task(self._run(), name="ideogram_async run on Ray")

    # Shards

    async def _run(self) -> None:
        try:
            await self._connect()
            async with anyio.create_task_group() as group:
                for shard in self._proxies:
                    group.start_soon(shard.work)
                group.start_soon(self._take_in)
                group.start_soon(self._share_lessons)
                await self._over.wait()
                group.cancel_scope.cancel()
        except asyncio.CancelledError:
            self.end(ClientClosed("the run's tasks were cancelled"))
            raise
        except Exception as error:  # noqa: BLE001 - the caller is told, whatever it is
            self.end(error)

    async def _connect(self) -> None:
        try:
            await anyio.to_thread.run_sync(_cluster.connect, self.options.address)
        except Exception as error:
            told = (str(error).splitlines() or [type(error).__name__])[0]
            raise ShardLost(f"no shard could be started, for want of a cluster: {told}") from error

    def deliver(self, shard: ShardProxy, result: Result) -> None:
        """Take an id's end, unless it is not this shard's to tell, or was told before."""
        if self._end is not None or result.request_id not in shard.open:
            return
        request_id = result.request_id
        del shard.open[request_id]
        shard.delivered += 1
        if isinstance(result, RequestError):
            self._failed(request_id, result)
        else:
            self._completed += 1
            self._put(request_id, result)
        self._check_over()

    def spread(self, shard: ShardProxy, key: int, seconds: float) -> None:
        """Let a refusal that one shard has had hold all that use its key."""
        for other in self._proxies:
            if other is not shard:
                other.hold(key, seconds)

    def teach(self, shard: ShardProxy, lessons: list[CompletionSample]) -> None:
        """Let what one shard has seen be known to all, and to whoever made the schedule."""
        learn(self.options.schedule, lessons)
        for other in self._proxies:
            if other is not shard:
                other.teach(lessons)

    async def _share_lessons(self) -> None:
        while True:
            await anyio.sleep(LESSONS_EVERY)
            for shard in self._proxies:
                shard.tell_lessons()

    def shard_ended(self, shard: ShardProxy, error: IdeogramError) -> None:
        """Let a shard whose keys were refused go on with those of others; else end the run."""
        if isinstance(error, AuthenticationError):
            self._refused.update(shard.share.keys)
            used = (one.share.keys for one in self._proxies)
            good = [keys for keys in used if self._refused.isdisjoint(keys)]
            if good:
                shard.move(shard.share._replace(keys=good[0]))
                return
        self.end(error)

    def client_statistics(self) -> Statistics:
        """Add up the figures of all clients, as they were told last."""
        figures = [one for shard in self._proxies for one in shard.figures]
        latest = [shard.figures[-1] for shard in self._proxies if shard.figures]
        return Statistics(
            queries=sum(one.queries for one in figures),
            in_flight=sum(one.in_flight for one in latest),
            pending=sum(one.pending for one in latest),
            completed=self._completed,
            failed=len(self.failures),
            refused=sum(one.refused for one in figures),
            sessions=tuple(session for one in latest for session in one.sessions),
        )

    # Ids in

    async def _take_in(self) -> None:
        await self._source.run()
        self._check_over()

    def _accept(self, request_id: object) -> None:
        self._taken += 1
        if isinstance(request_id, str):
            min(self._proxies, key=_load).give(request_id)
        else:
            kind = type(request_id).__name__
            error = RequestError(f"request id {request_id!r:.80} is a {kind}: expected a str")
            self._failed(request_id, error)

    # Results out

    def _failed(self, request_id: object, error: RequestError) -> None:
        self.failures.append(error)
        if self.options.return_exceptions:
            self._put(request_id, error)
        else:
            self._source.forget(request_id)

    async def next(self) -> T:
        """Wait for the next result. Cancelling it loses nothing."""
        self._check_place()
        while not self._ready or self._closed:
            if self._end is not None:
                raise _twin(self._end)
            if self._done:
                raise self._conclusion()
            await self._news()
        request_id, result = self._ready.popleft()
        self._yielded += 1
        self._source.forget(request_id)
        return cast("T", result)

    def pending(self) -> tuple[str, ...]:
        """List the ids whose end the caller has not had."""
        unheard = (
            str(request_id)
            for request_id, result in self._ready
            if not isinstance(result, RequestError)
        )
        left = self._open() if self._end is None else self._left
        return tuple(dict.fromkeys((*unheard, *left)))

    def statistics(self) -> RunStatistics:
        """Give the figures of this run."""
        return RunStatistics(
            taken=self._taken,
            pending=self._taken - self._completed - len(self.failures),
            completed=self._completed,
            failed=len(self.failures),
            yielded=self._yielded,
        )

    # How it ends

    @property
    def finished(self) -> bool:
        """Whether nothing more will come, and all that came was yielded."""
        return self._end is not None or (self._done and not self._ready)

    @property
    def stopped(self) -> bool:
        """Whether no shard is needed any more."""
        return self._over.is_set()

    def end(self, error: Exception) -> None:
        """Stop: the caller has what is ready, then this error, which lists what was open."""
        if self._end is None and not self._done:
            self._left = self._open()
            if isinstance(error, IdeogramError):
                error.pending = self._left
            self._end = error
            self._stop()

    def close(self) -> None:
        """Leave: nothing more is asked."""
        self._closed = self._closed or not self.finished
        self.end(ClientClosed("the run was left before all of it was yielded"))

    async def aclose(self) -> None:
        """Leave, and wait until all is left."""
        self._check_place()
        self.close()
        with anyio.move_on_after(CLOSE_BUDGET, shield=True):
            await asyncio.wait([self._work])

    @property
    def _done(self) -> bool:
        return self._source.over and self._taken == self._completed + len(self.failures)

    def _check_over(self) -> None:
        if self._done:
            self._stop()
        self._wake()

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._over.set()
        self._wake()

    def _conclusion(self) -> Exception:
        failed: PollingFailed | None = None
        if self.failures and not self.options.return_exceptions and not self._told:
            count = len(self.failures)
            failed = PollingFailed(
                f"{count} of {self._taken} requests failed", tuple(self.failures)
            )
        source_error = None if self._told else self._source.error
        self._told = True
        if source_error is not None:
            source_error.__cause__ = source_error.__cause__ or failed
            return source_error
        return failed or StopAsyncIteration()

    def _time_out(self) -> None:
        self.end(WaitTimeout("the run has not ended within its timeout"))

    def _open(self) -> tuple[str, ...]:
        held = (request_id for shard in self._proxies for request_id in shard.open)
        return (*held, *self._source.rest())

    def _check_place(self) -> None:
        if asyncio.get_running_loop() is not self.loop:
            raise RuntimeError("the run belongs to another event loop")

    # News

    def _put(self, request_id: object, result: Result) -> None:
        self._ready.append((request_id, result))
        self._wake()

    def _wake(self) -> None:
        for listener in self._listeners:
            if not listener.done():
                listener.set_result(None)

    async def _news(self) -> None:
        listener: asyncio.Future[None] = self.loop.create_future()
        self._listeners.append(listener)
        try:
            await listener
        finally:
            self._listeners.remove(listener)


def _load(shard: ShardProxy) -> int:
    return len(shard.open)


def _twin(error: Exception) -> Exception:
    """Give each caller an error of its own: their tracebacks must not mix."""
    twin = copy.copy(error) if isinstance(error, IdeogramError) else error
    twin.__cause__ = error.__cause__
    return twin

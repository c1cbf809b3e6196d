"""Every way to leave: nothing is asked afterwards, nothing is lost, nothing ends quietly."""

from __future__ import annotations

import asyncio
import gc
import math
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from ideogram_async import (
    ClientClosed,
    FixedInterval,
    IdeogramClient,
    Run,
    SamplingRequest,
    WaitTimeout,
)
from ideogram_async.testing import Gateway

pytestmark = pytest.mark.anyio


class _UserError(Exception):
    """An exception of the caller's own."""


class _Scene:
    """A gateway with one request that ends soon and many that never do, and a client."""

    def __init__(self, gateway: Gateway, client: IdeogramClient) -> None:
        self.gateway = gateway
        self.client = client
        self.soon = gateway.submit(duration=1.0, progress="linear")
        self.never = [gateway.submit(progress="never") for _ in range(30)]
        self.ids = [self.soon, *self.never]

    async def silence(self, seconds: float = 60) -> int:
        """Count the queries that arrive in so many seconds, but for those in flight before."""
        gc.collect()
        await anyio.sleep(self.gateway.latency + 0.01)  # type: ignore[operator]
        before = len(self.gateway.queries)
        await anyio.sleep(seconds)
        return len(self.gateway.queries) - before


@asynccontextmanager
async def _scene() -> AsyncIterator[_Scene]:
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        yield _Scene(gateway, client)
    assert _strangers() == set()


def _strangers() -> set[str]:
    """Name the tasks that are left, but for the test's own."""
    current = asyncio.current_task()
    return {
        task.get_name()
        for task in asyncio.all_tasks()
        if task is not current and "ideogram" in task.get_name()
    }


async def test_break_out_of_an_unnamed_run() -> None:
    """A plain break stops the polling of an unnamed run, without a warning."""
    async with _scene() as scene:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            async for request in scene.client.as_completed(scene.ids):
                assert request.request_id == scene.soon
                break
            assert await scene.silence() == 0
        assert scene.client.statistics().pending == 0


async def test_break_out_of_a_block() -> None:
    """A break within the run's block stops it at the block's end, and lists what was open."""
    async with _scene() as scene:
        async with scene.client.as_completed(scene.ids) as completed:
            async for _ in completed:
                break
        assert set(completed.pending) == set(scene.never)
        assert await scene.silence() == 0


async def test_exception_in_the_body_comes_out_unwrapped() -> None:
    """The caller's own exception leaves both forms as it is, and ends the polling."""
    async with _scene() as scene:
        with pytest.raises(_UserError):
            async for _ in scene.client.as_completed(scene.ids):
                raise _UserError
        completed = scene.client.as_completed(scene.never)
        with pytest.raises(_UserError):
            async with completed:
                async for _ in scene.client.as_completed([scene.soon]):
                    raise _UserError
        assert set(completed.pending) == set(scene.never)
        assert await scene.silence() == 0


async def test_timeout_around_the_loop() -> None:
    """A timeout around an unnamed loop stops its polling."""
    async with _scene() as scene:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(5):
                async for _ in scene.client.as_completed(scene.ids):
                    pass
        assert await scene.silence() == 0


async def test_cancel_scope_around_the_loop() -> None:
    """An anyio cancel scope around an unnamed loop stops its polling."""
    async with _scene() as scene:
        with anyio.move_on_after(5) as scope:
            async for _ in scene.client.as_completed(scene.ids):
                pass
        assert scope.cancelled_caught
        assert await scene.silence() == 0


async def test_cancelled_task() -> None:
    """Cancelling the task that iterates stops the polling, and is no other error."""
    async with _scene() as scene:

        async def consume() -> None:
            async for _ in scene.client.as_completed(scene.ids):
                pass

        task = asyncio.create_task(consume())
        await anyio.sleep(3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await scene.silence() == 0


async def test_wait_timed_out() -> None:
    """A wait whose timeout has passed raises WaitTimeout with the last record, and stops."""
    async with _scene() as scene:
        with pytest.raises(WaitTimeout) as caught:
            await scene.client.wait(scene.never[0], timeout=5)
        error = caught.value
        assert isinstance(error, TimeoutError)
        assert error.pending == (scene.never[0],)
        assert error.request_id == scene.never[0]
        assert error.request is not None
        assert error.request.request_id == scene.never[0]
        assert await scene.silence() == 0


async def test_wait_cancelled() -> None:
    """A cancelled wait stops the polling of its id."""
    async with _scene() as scene:
        with anyio.move_on_after(5) as scope:
            await scene.client.wait(scene.never[0])
        assert scope.cancelled_caught
        assert await scene.silence() == 0


async def test_run_timed_out() -> None:
    """A run whose timeout has passed yields what is done, then raises what was open."""
    async with _scene() as scene:
        done = []
        with pytest.raises(WaitTimeout) as caught:
            async for request in scene.client.as_completed(scene.ids, timeout=10):
                done.append(request.request_id)
        assert done == [scene.soon]
        assert set(caught.value.pending) == set(scene.never)
        assert await scene.silence() == 0


async def test_unnamed_run_dropped_before_its_first_result() -> None:
    """A run that nobody holds is stopped, with a warning since nobody ever iterated it."""
    async with _scene() as scene:
        with pytest.warns(ResourceWarning, match="dropped unfinished"):
            scene.client.as_completed(scene.ids)
            gc.collect()
        assert await scene.silence() == 0


async def test_named_run_goes_on_while_held_then_warns() -> None:
    """A named run polls on after a break while it is held; dropped, it warns and stops."""
    async with _scene() as scene:
        run: Run[SamplingRequest] | None = scene.client.as_completed(scene.ids)
        assert run is not None
        async for _ in run:
            break
        assert await scene.silence(5) > 0
        with pytest.warns(ResourceWarning, match="dropped unfinished"):
            run = None
            gc.collect()
        assert await scene.silence() == 0


async def test_named_run_survives_a_cancelled_wait() -> None:
    """Cancelling one wait for the next result loses nothing while the run is held."""
    async with _scene() as scene, scene.client.as_completed(scene.ids) as completed:
        with anyio.move_on_after(0.5) as scope:
            await anext(completed)
        assert scope.cancelled_caught
        assert (await anext(completed)).request_id == scene.soon


async def test_explicit_aclose() -> None:
    """`aclose` stops a run; whoever waits for its next result is told, not left hanging."""
    async with _scene() as scene:
        run = scene.client.as_completed(scene.never)

        async def consume() -> None:
            with pytest.raises(ClientClosed) as caught:
                await anext(run)
            assert set(caught.value.pending) == set(scene.never)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.sleep(3)
            await run.aclose()
        assert await scene.silence() == 0


async def test_leaving_does_not_wait_for_the_source() -> None:
    """Leaving a run whose source of ids is waiting ends that wait at once."""
    async with _scene() as scene:
        left = anyio.Event()

        async def source() -> AsyncIterator[str]:
            try:
                yield scene.soon
                await anyio.sleep_forever()
            finally:
                left.set()

        async with scene.client.as_completed(source()) as completed:
            await anext(completed)
            begun = anyio.current_time()
        assert anyio.current_time() - begun <= 0.1
        assert left.is_set()


async def test_an_id_that_comes_after_leaving_is_listed() -> None:
    """What a source gives in spite of its cancellation, once the run was left, is pending."""

    async def source() -> AsyncIterator[str]:
        yield scene.soon
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            yield scene.never[0]

    async with _scene() as scene:
        async with scene.client.as_completed(source()) as completed:
            await anext(completed)
        assert completed.pending == (scene.never[0],)
        assert [query.request_id for query in scene.gateway.queries].count(scene.never[0]) == 0


async def test_a_source_that_lingers() -> None:
    """Leaving, and then closing, wait 5 s at most for a source that does not leave."""
    async with _scene() as scene:

        async def source() -> AsyncIterator[str]:
            try:
                yield scene.soon
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.sleep(60)

        run = scene.client.as_completed(source())
        await anext(run)
        begun = anyio.current_time()
        await run.aclose()
        assert anyio.current_time() - begun == pytest.approx(5)
        await scene.client.close()
        assert anyio.current_time() - begun <= 10
        await anyio.sleep(60)


async def test_client_closed_under_a_run() -> None:
    """Closing the client ends its runs with ClientClosed, what is done yielded before."""
    async with _scene() as scene:
        done = []

        async def consume() -> None:
            with pytest.raises(ClientClosed) as caught:
                async for request in scene.client.as_completed(scene.ids):
                    done.append(request.request_id)
            assert set(caught.value.pending) == set(scene.never)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(consume)
            await anyio.sleep(5)
            await scene.client.close()
        assert done == [scene.soon]
        assert await scene.silence() == 0


async def test_client_closed_under_calls_for_one() -> None:
    """Closing the client ends waits and retrieves with ClientClosed."""
    async with _scene() as scene:
        scene.gateway.latency = 3.0

        async def call(method: str) -> None:
            with pytest.raises(ClientClosed) as caught:
                await getattr(scene.client, method)(scene.never[0])
            assert caught.value.pending == (scene.never[0],)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call, "wait")
            tasks.start_soon(call, "retrieve")
            await anyio.sleep(1)
            await scene.client.close()
        assert await scene.silence() == 0


async def test_calls_on_a_closed_client() -> None:
    """A closed client refuses every call at once."""
    async with _scene() as scene:
        await scene.client.close()
        with pytest.raises(ClientClosed):
            await scene.client.wait(scene.soon)
        with pytest.raises(ClientClosed):
            await scene.client.retrieve(scene.soon)
        with pytest.raises(ClientClosed):
            scene.client.as_completed(scene.ids)
        await scene.client.close()
        assert len(scene.gateway.queries) == 0


async def test_leaving_spares_what_others_await() -> None:
    """When one of two callers of an id leaves, in whatever order, the other still gets it."""
    async with _scene() as scene:
        request_id = scene.gateway.submit(duration=20.0, progress="linear")
        run = scene.client.as_completed([request_id, *scene.never])
        with anyio.move_on_after(3):
            await scene.client.wait(request_id)
        waited: list[SamplingRequest] = []

        async def wait() -> None:
            waited.append(await scene.client.wait(request_id))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.sleep(2)
            await run.aclose()
            assert scene.client.statistics().pending == 1
        assert [request.request_id for request in waited] == [request_id]
        assert await scene.silence() == 0


async def test_client_dropped_unclosed() -> None:
    """A client that was never closed warns when dropped, and its engine stops."""
    async with Gateway() as gateway:
        client: IdeogramClient | None = IdeogramClient(gateway.url)
        assert client is not None
        await client.wait(gateway.submit(duration=1.0))
        with pytest.warns(ResourceWarning, match="never closed"):
            client = None
            gc.collect()
        await anyio.sleep(1)
        assert _strangers() == set()


async def test_dropped_where_warnings_are_errors(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dropped run, and a dropped client, stop also where the warning is raised as an error."""
    raised: list[object] = []
    monkeypatch.setattr("sys.unraisablehook", lambda told: raised.append(told.exc_type))
    async with _scene() as scene:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scene.client.as_completed(scene.ids)
            gc.collect()
        assert raised == [ResourceWarning]
        assert await scene.silence() == 0
        client: IdeogramClient | None = IdeogramClient(scene.gateway.url)
        assert client is not None
        await client.retrieve(scene.soon)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            client = None
            gc.collect()
        assert raised == [ResourceWarning] * 2
        await scene.client.close()
        await anyio.sleep(1)
        assert _strangers() == set()


async def test_body_of_the_client_block_raises() -> None:
    """The caller's exception leaves the client's block as it is."""
    async with Gateway() as gateway:
        with pytest.raises(_UserError):
            async with IdeogramClient(gateway.url) as client:
                await client.wait(gateway.submit(duration=1.0))
                raise _UserError
    assert _strangers() == set()


async def test_leaving_a_large_run_by_portions() -> None:
    """What a large run leaves goes by portions, and a new run over the same ids takes it over."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_rate=math.inf, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(duration=5.0) for _ in range(3000)]
        first = client.as_completed(ids)
        await anyio.sleep(1)
        assert len(gateway.queries) < 1000
        closing = asyncio.create_task(first.aclose())
        await asyncio.sleep(0)
        assert set(first.pending) == set(ids)
        assert client.statistics().pending >= 2000  # most of it is let go of by and by
        second = client.as_completed(ids[::2])
        asked = len(gateway.queries)
        done = {str(request.request_id) async for request in second}
        assert done == set(ids[::2])
        assert not {query.request_id for query in gateway.queries[asked + 20 :]} - done
        await closing
        assert client.statistics().pending == 0
        before = len(gateway.queries)
        await anyio.sleep(60)
        assert len(gateway.queries) == before


@pytest.mark.parametrize("order", [1, -1])
async def test_leaving_two_large_runs_at_once(order: int) -> None:
    """Of large runs over the same ids that are left together, none inherits them from another."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_rate=math.inf, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(1500)]
        runs = [client.as_completed(ids) for _ in range(3)]
        await anyio.sleep(1)
        await asyncio.gather(*(run.aclose() for run in runs[::order]))
        await anyio.sleep(1)
        assert client.statistics().pending == 0
        before = len(gateway.queries)
        await anyio.sleep(60)
        assert len(gateway.queries) == before


async def test_what_another_run_has_left_is_not_listed() -> None:
    """Of two large runs that are left together, each lists its own ids, and no other's."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_rate=math.inf, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(3000)]
        runs = [client.as_completed(ids[:1500]), client.as_completed(ids[1500:])]
        await anyio.sleep(1)
        await asyncio.gather(*(run.aclose() for run in runs))
        assert sorted(runs[0].pending) == sorted(ids[:1500])
        assert sorted(runs[1].pending) == sorted(ids[1500:])

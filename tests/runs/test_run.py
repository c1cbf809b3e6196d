"""Runs of many ids: what goes in, what comes out, and how failures are told."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anyio
import pytest

from ideogram_async import (
    APIConnectionError,
    ClientClosed,
    DeadlineExceeded,
    FixedInterval,
    IdeogramClient,
    PollingFailed,
    RequestError,
    RequestFailed,
    RequestNotFound,
    SamplingRequest,
    WaitTimeout,
)
from ideogram_async._polling import tracker
from ideogram_async.testing import Gateway, Progress, Reply, json_reply
from tests.support.calls import never

pytestmark = pytest.mark.anyio


def _client(gateway: Gateway, **settings: Any) -> IdeogramClient:
    return IdeogramClient(gateway.url, schedule=FixedInterval(1.0), **settings)


async def test_results_come_in_order_of_completion() -> None:
    """Each request is yielded soon after the gateway says that it is complete, not as listed."""
    async with Gateway() as gateway, _client(gateway) as client:
        slow, quick = gateway.submit(duration=9), gateway.submit(duration=2)
        loop = asyncio.get_running_loop()
        order = []
        async for request in client.as_completed([slow, quick]):
            assert request.is_complete
            assert request.request_id is not None
            assert 0 <= loop.time() - gateway.completes_at(request.request_id) <= 1.5
            order.append(request.request_id)
        assert order == [quick, slow]


async def test_each_distinct_id_once() -> None:
    """An id that is listed twice is asked and yielded once."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=0.05)
        results = [r.request_id async for r in client.as_completed([request_id] * 3)]
        assert results == [request_id]
        assert len(gateway.queries) == 1


async def test_nothing_to_do() -> None:
    """A run over no ids ends at once, without a query."""
    async with Gateway() as gateway, _client(gateway) as client:
        assert [r async for r in client.as_completed([])] == []
        assert [r async for r in client.retrieve_many(iter(()))] == []
        assert gateway.queries == []


async def test_first_queries_go_out_in_the_order_given() -> None:
    """The ids of a run are asked first in the order in which they were handed in."""
    async with Gateway() as gateway, _client(gateway, max_in_flight=2) as client:
        ids = [gateway.submit(duration=0.05) for _ in range(40)]
        assert len([r async for r in client.as_completed(ids)]) == 40
        assert [query.request_id for query in gateway.queries] == ids


async def test_failures_are_raised_together_at_the_end() -> None:
    """Failed ids never disturb the others: all the rest is yielded, then one group is raised."""
    async with Gateway() as gateway, _client(gateway) as client:
        good = [gateway.submit(duration=n) for n in (1, 30)]
        failed = gateway.submit(duration=2, progress="errored")
        results = []
        with pytest.raises(PollingFailed) as caught:
            async for request in client.as_completed([failed, "unknown-id", *good]):
                results.append(request.request_id)
        assert results == good
        errors = {error.request_id: error for error in caught.value.exceptions}
        assert isinstance(errors[failed], RequestFailed)
        assert isinstance(errors["unknown-id"], RequestNotFound)
        record = errors[failed].request
        assert record is not None
        assert record.is_errored


async def test_failures_in_the_stream() -> None:
    """With return_exceptions each failure is yielded the moment it is known, and none raised."""
    async with Gateway() as gateway, _client(gateway) as client:
        good = gateway.submit(duration=10)
        failed = gateway.submit(duration=2, progress="errored")
        results: list[SamplingRequest | RequestError] = []
        async with client.as_completed([good, failed], return_exceptions=True) as completed:
            async for result in completed:
                results.append(result)
            assert [type(result) for result in results] == [RequestFailed, SamplingRequest]
            assert completed.failures == ()  # they would grow for ever in an endless run
            assert completed.statistics().failed == 1


async def test_errored_wins_over_completion() -> None:
    """A record at 100 % that says `is_errored` is a failure, and its record is on the error."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=1, errored=True)
        with pytest.raises(RequestFailed) as caught:
            await client.wait(request_id)
        assert caught.value.request is not None
        assert not caught.value.retryable


async def test_complete_without_images_is_an_answer() -> None:
    """A complete record without images is yielded as it is."""
    async with Gateway() as gateway, _client(gateway) as client:
        request = await client.wait(gateway.submit(duration=1, progress="moderated"))
        assert request.is_complete
        assert request.responses == ()


async def test_async_source_within_max_pending() -> None:
    """An async source of 400 ids is pulled as there is room: never more than 100 outstanding."""
    async with Gateway(latency=0.05) as gateway, _client(gateway, max_in_flight=50) as client:
        pulled = yielded = peak = 0

        async def source() -> AsyncIterator[str]:
            nonlocal pulled, peak
            for number in range(400):
                if number % 200 == 0:
                    await anyio.sleep(0.5)
                pulled += 1
                peak = max(peak, pulled - yielded)
                yield gateway.submit(duration=0.2 + number % 7 * 0.3)

        seen = set()
        async for request in client.as_completed(source(), max_pending=100):
            yielded += 1
            seen.add(request.request_id)
            if yielded % 100 == 0:
                await anyio.sleep(5)
        assert len(seen) == yielded == 400
        assert peak == 100


async def test_an_async_source_that_never_waits_leaves_turns_to_others() -> None:
    """Ids that are all at hand are taken in by slices, from an async source, too."""
    async with Gateway() as gateway, _client(gateway) as client:
        pulled = 0

        async def source() -> AsyncIterator[str]:
            nonlocal pulled
            for number in range(12_000):
                pulled = number
                yield f"id-{number}"

        async with client.as_completed(source(), max_pending=20_000):
            turns = set()
            while pulled < 11_999:
                turns.add(pulled)
                await asyncio.sleep(0)
        assert len(turns) > 2


async def test_async_source_may_bring_an_id_again() -> None:
    """An id that comes again after it was yielded is asked anew; while outstanding it is one."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=0.5)
        had = anyio.Event()

        async def source() -> AsyncIterator[str]:
            yield request_id
            yield request_id
            await had.wait()
            yield request_id

        results = []
        async for request in client.as_completed(source()):
            results.append(request.request_id)
            had.set()
        assert results == [request_id] * 2


async def test_source_that_raises() -> None:
    """What the caller's source raises comes out unwrapped, once what it gave is yielded."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=3)

        async def source() -> AsyncIterator[str]:
            yield request_id
            raise LookupError("the queue is gone")

        results = []
        with pytest.raises(LookupError, match="the queue is gone"):
            async for request in client.as_completed(source()):
                results.append(request.request_id)
        assert results == [request_id]


async def test_bad_ids_are_told_at_the_call() -> None:
    """An id that cannot be one is refused by the call itself, before anything is sent."""
    async with Gateway() as gateway, _client(gateway) as client:
        good = gateway.submit()
        for bad, kind in (
            (7, TypeError),
            (None, TypeError),
            ("", ValueError),
            ("\ud800", ValueError),
        ):
            with pytest.raises(kind, match="request id"):
                client.as_completed([good, bad])  # type: ignore[list-item]
            with pytest.raises(kind, match="request id"):
                await client.wait(bad)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"single str, .* give \[id\], or .*wait\(id\)"):
            client.as_completed("one-id")
        with pytest.raises(TypeError, match="expected an iterable"):
            client.as_completed(7)  # type: ignore[call-overload]
        assert client.statistics().pending == 0
        await anyio.sleep(5)
        assert gateway.queries == []


async def test_a_bad_id_later_fails_alone() -> None:
    """A bad id deep in a long source never ends the batch: it fails alone."""
    async with Gateway() as gateway, _client(gateway, max_in_flight=100) as client:
        ids: list[Any] = [gateway.submit(duration=0.05) for _ in range(1200)]
        ids[1100:1100] = ["", 5]
        results = [r async for r in client.as_completed(iter(ids), return_exceptions=True)]
        bad = [result for result in results if isinstance(result, RequestError)]
        assert len(results) == 1202
        assert sorted(str(error) for error in bad) == [
            "request '': a request id is empty: expected the id that the gateway gave",
            "request '5': request id 5 is a int: expected a str",
        ]


async def test_a_second_iteration_raises() -> None:
    """One run is iterated once."""
    async with Gateway() as gateway, _client(gateway) as client:
        run = client.as_completed([gateway.submit(duration=1)])
        assert len([r async for r in run]) == 1
        with pytest.raises(RuntimeError, match="iterated once"):
            aiter(run)
        with pytest.raises(StopAsyncIteration):
            await anext(run)


async def test_several_consumers_of_one_run() -> None:
    """Tasks that draw from one run get each result once between them, and all get to its end."""
    async with Gateway() as gateway, _client(gateway) as client:
        ids = {gateway.submit(duration=n % 5) for n in range(50)}
        got: list[str | None] = []
        async with client.as_completed(ids) as run, anyio.create_task_group() as tasks:

            async def draw() -> None:
                while (request := await anext(run, None)) is not None:
                    got.append(request.request_id)

            for _ in range(4):
                tasks.start_soon(draw)
        assert len(got) == 50
        assert set(got) == ids


async def test_what_was_not_taken_in_yet_is_the_rest() -> None:
    """Leaving while a long iterable is taken in neither reads it on nor loses any id of it."""
    drawn = 0

    def source(ids: list[str]) -> Iterator[str]:
        nonlocal drawn
        for request_id in ids:
            drawn += 1
            yield request_id

    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(progress="never") for _ in range(3000)]
        async with client.as_completed(source(ids)) as run:
            assert set(run.pending) == set(ids[:drawn])
            assert drawn < 3000
        with pytest.raises(ClientClosed) as caught:
            await anext(run)
        assert set(caught.value.pending) == set(run.pending) == set(ids[:drawn])
        assert drawn < 3000
        assert [*run.rest] == ids[len(run.pending) :]
        async with client.as_completed(ids) as run:
            await anyio.sleep(1)
            assert (len(run.pending), [*run.rest]) == (3000, [])


async def test_results_not_fetched_are_pending() -> None:
    """A result that the caller has not had when it leaves is listed as pending."""
    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(duration=1) for _ in range(3)]
        async with client.as_completed(ids) as run:
            first = await anext(run)
            await anyio.sleep(10)
        with pytest.raises(ClientClosed) as caught:
            await anext(run)
        assert set(run.pending) == set(caught.value.pending) == set(ids) - {first.request_id}


async def test_watch_tells_every_change_and_the_end() -> None:
    """`watch` yields changes alone, in order, the last being complete."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=8, progress="steps")
        told = [r.completion_percentage async for r in client.watch([request_id])]
        assert told == [0, 25, 50, 75, 100]


async def test_watch_tells_changes_alone_where_no_record_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond the pending ids whose records are kept, a poll without a change yields nothing."""
    monkeypatch.setattr(tracker, "BODIES_KEPT", 0)
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=8, progress="steps")
        told = [r.completion_percentage async for r in client.watch([request_id])]
        assert told == [0, 25, 50, 75, 100]
        request_id = gateway.submit(progress=lambda *_: Progress(50))
        async with client.watch([request_id]) as first, client.watch([request_id]) as second:
            await anext(first)
            await anext(second)
            await anyio.sleep(5)
            async with client.watch([request_id]) as late:
                with anyio.fail_after(2):
                    assert (await anext(late)).completion_percentage == 50
            for run in (first, second):
                with anyio.move_on_after(100):
                    await anext(run)  # told once more, for the sake of the late one
                    pytest.fail(f"a state that had not changed: {await anext(run)}")


async def test_watch_latest_wins() -> None:
    """A watcher that is slower than the changes gets the latest of each id, and the end."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=20, progress="linear")
        told = []
        async for request in client.watch([request_id]):
            told.append(request.completion_percentage)
            await anyio.sleep(7.5)
        assert len(told) <= 5
        assert told == sorted(told)  # type: ignore[type-var]
        assert told[-1] == 100


async def test_watch_joins_with_the_last_known_state() -> None:
    """A watcher of an id that is polled already gets its state at once, without a query."""
    async with Gateway() as gateway, _client(gateway) as client, anyio.create_task_group() as tasks:
        request_id = gateway.submit(duration=20, progress="linear")
        tasks.start_soon(client.wait, request_id)
        await anyio.sleep(5.5)
        before = len(gateway.queries)
        async with client.watch([request_id]) as states:
            with anyio.fail_after(0.01):
                assert (await anext(states)).request_id == request_id
        assert len(gateway.queries) == before


async def test_a_change_not_fetched_of_an_id_that_failed() -> None:
    """An id that failed is not pending, though a change of it was not fetched."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(progress="never")
        async with client.watch([request_id], deadline=3) as changes:
            await anyio.sleep(10)
            assert [error.request_id for error in changes.failures] == [request_id]
            assert changes.pending == ()


async def test_deadline_runs_from_the_first_query() -> None:
    """An id's deadline does not count the time in line before its first query."""
    async with Gateway(latency=1.0) as gateway, _client(gateway, max_in_flight=1) as client:
        ids = [gateway.submit(duration=0) for _ in range(30)]
        assert len([r async for r in client.as_completed(ids, deadline=5.0)]) == 30


async def test_past_its_deadline_an_id_is_asked_once_more() -> None:
    """An id that is overdue is asked once at its deadline, then fails with its last record."""
    async with Gateway() as gateway, _client(gateway) as client:
        never = gateway.submit(progress="never")
        with pytest.raises(DeadlineExceeded, match=r"within 7\.5 s") as caught:
            await client.wait(never, deadline=7.5)
        assert isinstance(caught.value, TimeoutError)
        assert caught.value.request is not None
        assert gateway.queries[-1].at == pytest.approx(gateway.queries[0].at + 7.5)
        late = gateway.submit(duration=20.3)
        assert (await client.wait(late, deadline=20.4)).is_complete


async def test_ids_whose_last_query_has_no_turn_fail_all_the_same() -> None:
    """Behind a long hold, ids that are overdue fail within 40 s of their deadline."""
    async with Gateway() as gateway, _client(gateway, max_in_flight=50) as client:
        ids = [gateway.submit(progress="never") for _ in range(100)]
        with pytest.raises(PollingFailed) as caught:
            async with client.as_completed(ids, deadline=20.0) as completed:
                await anyio.sleep(19)
                assert {query.request_id for query in gateway.queries} == set(ids)
                gateway.script(json_reply({}, 429, {"Retry-After": "300"}), times=math.inf)
                await anext(completed)
        errors = caught.value.exceptions
        assert sorted(str(error.request_id) for error in errors) == sorted(ids)
        assert {type(error) for error in errors} == {DeadlineExceeded}
        assert anyio.current_time() < 20 + 19 + 40


async def test_each_caller_has_its_own_deadline() -> None:
    """Callers that share an id keep their own deadlines, each from its own first query."""
    async with Gateway() as gateway, _client(gateway) as client:
        never = gateway.submit(progress="never")
        loop = asyncio.get_running_loop()
        ended: dict[float, float] = {}

        async def wait(deadline: float) -> None:
            with pytest.raises(DeadlineExceeded):
                await client.wait(never, deadline=deadline)
            ended[deadline] = loop.time()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait, 30.0)
            await anyio.sleep(10)
            tasks.start_soon(wait, 5.0)
        assert ended[5.0] == pytest.approx(15.5, abs=1.0)
        assert ended[30.0] == pytest.approx(30.5, abs=1.0)


async def test_no_deadline() -> None:
    """With a deadline of None an id is polled for as long as it takes."""
    async with Gateway() as gateway, _client(gateway, deadline=5.0) as client:
        request_id = gateway.submit(duration=200)
        assert (await client.wait(request_id, deadline=None)).is_complete


async def test_retrieve_many_asks_each_once() -> None:
    """`retrieve_many` yields each id's state now, complete or not, for one query an id."""
    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(duration=50) for _ in range(60)]
        states = [r async for r in client.retrieve_many(ids)]
        assert {r.request_id for r in states} == set(ids)
        assert not any(r.is_complete for r in states)
        assert len(gateway.queries) == 60


async def test_one_shot_calls_try_a_transient_fault_twice_more() -> None:
    """A one-shot query survives two transient faults, and the third is raised, with its id."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=0)
        gateway.script(Reply(502), times=2)
        assert (await client.retrieve(request_id)).is_complete
        gateway.script(Reply(502), times=3)
        with pytest.raises(RequestError, match="502") as caught:
            await client.retrieve(request_id)
        assert caught.value.request_id == request_id
        assert caught.value.status == 502
        assert len(gateway.queries) == 6
        with pytest.raises(RequestNotFound):
            await client.retrieve("unknown-id")
        assert len(gateway.queries) == 7


async def test_a_gateway_that_is_down_ends_a_bulk_of_one_shot_ids() -> None:
    """Without a timeout, `retrieve_many` ends all the same: each id with the gateway's fault."""
    async with Gateway() as gateway, _client(gateway) as client:
        await gateway.stop()
        loop = asyncio.get_running_loop()
        ids = [f"id-{number}" for number in range(200)]
        results = [r async for r in client.retrieve_many(ids, return_exceptions=True)]
        assert {type(result) for result in results} == {APIConnectionError}
        assert {result.request_id for result in results} == set(ids)
        assert 15 <= loop.time() < 90


async def test_a_bulk_says_how_many_were_answered_within_its_timeout() -> None:
    """`retrieve_many` answers, and `as_completed` completes: the words of a timeout say which."""
    async with Gateway() as gateway, _client(gateway, max_rate=1) as client:
        ids = never(gateway)
        with pytest.raises(WaitTimeout, match=r"^\d+ of 30 answered within the timeout"):
            [request async for request in client.retrieve_many(ids, timeout=3)]
        with pytest.raises(WaitTimeout, match=r"^0 of 30 complete within the timeout"):
            [request async for request in client.as_completed(ids, timeout=3)]


async def test_a_long_retry_after_is_told_at_once() -> None:
    """A one-shot call is not made to wait for a Retry-After that outlasts its timeout.

    One that a known id got holds the key; one of an id that was never answered is its own.
    """
    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(duration=0) for _ in range(5)]
        loop = asyncio.get_running_loop()
        gateway.script(json_reply({}, 429, {"Retry-After": "60"}))
        with pytest.raises(RequestError, match="429") as caught:
            await client.retrieve(ids[0])
        assert loop.time() < 1
        assert caught.value.retry_after == pytest.approx(63, abs=4)
        assert (await client.retrieve(ids[1])).is_complete
        async with client.as_completed([gateway.submit(progress="never")]):
            await anyio.sleep(3)
            gateway.script(json_reply({}, 429, {"Retry-After": "60"}))
            await anyio.sleep(10)
            with pytest.raises(RequestError, match="asked to wait") as refused:
                await client.retrieve(ids[1])
            assert refused.value.request_id == ids[1]
            with pytest.raises(RequestError, match="asked to wait"):
                client.retrieve_many(ids, timeout=30)
            assert len([r async for r in client.retrieve_many(ids)]) == 5


async def test_statistics_of_a_client_and_a_run() -> None:
    """The figures tell what was sent, what is open and what has ended."""
    async with Gateway() as gateway, _client(gateway) as client:
        assert client.statistics().queries == 0
        done, failed = gateway.submit(duration=1), gateway.submit(duration=1, progress="errored")
        never = gateway.submit(progress="never")
        async with client.as_completed([done, failed, never]) as run:
            await anext(run)
            await anyio.sleep(2)
            figures = client.statistics()
            assert figures.queries == len(gateway.queries)
            assert (figures.pending, figures.completed, figures.failed) == (1, 1, 1)
            assert "1 yielded" in repr(run)
            assert run.statistics().pending == 1
        assert client.statistics().pending == 0

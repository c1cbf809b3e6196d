"""Async sources of ids: repeated ids, bad ids, and how far they are pulled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any

import anyio
import pytest

from ideogram_async import (
    ClientClosed,
    FixedInterval,
    IdeogramClient,
    PollingFailed,
    RequestError,
    RequestFailed,
    SamplingRequest,
)
from ideogram_async.testing import Gateway

pytestmark = pytest.mark.anyio


def _client(gateway: Gateway, **settings: Any) -> IdeogramClient:
    return IdeogramClient(gateway.url, schedule=FixedInterval(1.0), **settings)


async def _source(ids: Iterable[Any]) -> AsyncIterator[Any]:
    for request_id in ids:
        yield request_id


# Changes


async def test_an_id_that_comes_again_while_it_is_watched() -> None:
    """It is one id until it has ended, and the run ends with it."""
    async with Gateway() as gateway, _client(gateway) as client:
        request_id = gateway.submit(duration=8, progress="steps")

        async def source() -> AsyncIterator[str]:
            for _ in range(4):
                yield request_id
                await asyncio.sleep(1.7)

        with anyio.fail_after(60):
            shown = [r.completion_percentage async for r in client.watch(source())]
        assert shown == [0, 25, 50, 75, 100]


async def test_changes_make_no_room() -> None:
    """A watched id takes a place until its last record was taken, whatever changes before."""
    async with Gateway() as gateway, _client(gateway) as client:
        pulled = ended = most = 0

        async def source() -> AsyncIterator[str]:
            nonlocal pulled, most
            for number in range(60):
                pulled += 1
                most = max(most, pulled - ended)
                yield gateway.submit(duration=4 + number % 3, progress="steps")

        with anyio.fail_after(600):
            async for request in client.watch(source(), max_pending=10):
                ended += request.is_complete
        assert (pulled, ended, most) == (60, 60, 10)


@pytest.mark.parametrize("return_exceptions", [False, True])
async def test_failed_ids_make_room(*, return_exceptions: bool) -> None:
    """A watched id that failed gives up its place, also where a change of it was not taken."""
    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(duration=5, progress="errored") for _ in range(20)]
        failed: list[str | None] = []
        with anyio.fail_after(600):
            run = client.watch(_source(ids), max_pending=5, return_exceptions=return_exceptions)
            try:
                async for result in run:
                    if isinstance(result, RequestFailed):
                        failed.append(result.request_id)
                    await asyncio.sleep(3)
            except PollingFailed as error:
                failed += [one.request_id for one in error.exceptions]
        assert sorted(map(str, failed)) == sorted(ids)


# Bad ids


class _Odd:
    """No id, and no text shows it."""

    def __repr__(self) -> str:
        raise ZeroDivisionError


BAD: list[Any] = [5, 5, None, b"5", [], [], {}, ["5"], "", "\ud800", 10**5000, _Odd(), "x" * 0, 5]


@pytest.mark.parametrize("return_exceptions", [False, True])
async def test_bad_ids_of_an_async_source_fail_alone(*, return_exceptions: bool) -> None:
    """Each fails, repeated ones too, under its repr; they hold up nothing and overwrite nothing."""
    async with Gateway() as gateway, _client(gateway) as client:
        good = [gateway.submit(duration=1, request_id=name) for name in ("5", "None", "[]", "a")]
        ids = [*good[:2], *BAD, *good[2:]]
        done: list[str | None] = []
        failed: list[RequestError] = []
        with anyio.fail_after(60):
            run = client.as_completed(
                _source(ids), max_pending=3, return_exceptions=return_exceptions
            )
            await asyncio.sleep(10)  # whatever is ready waits meanwhile
            try:
                async for result in run:
                    if isinstance(result, RequestError):
                        failed.append(result)
                    else:
                        done.append(result.request_id)
            except PollingFailed as error:
                failed += error.exceptions
        assert sorted(map(str, done)) == sorted(good)
        assert len(failed) == len(BAD) == run.statistics().failed
        names = [str(error.request_id) for error in failed]
        assert names[:8] == ["5", "5", "None", "b'5'", "[]", "[]", "{}", "['5']"]
        assert all(0 < len(name) <= 100 for name in names if name not in {"", "\ud800"})
        assert {query.request_id for query in gateway.queries} == set(good)


@pytest.mark.parametrize("bad", [5, None, [], ["5"], 10**5000, _Odd()], ids=type)
async def test_a_bad_id_in_a_list(bad: Any) -> None:
    """It is a TypeError of the call, and nothing is asked; `wait` refuses it, too."""
    async with Gateway() as gateway, _client(gateway) as client:
        for call in (client.as_completed, client.watch, client.retrieve_many):
            with pytest.raises(TypeError, match=r"request id .* expected a str"):
                call([gateway.submit(), bad])
        with pytest.raises(TypeError, match=r"request id .* expected a str"):
            await client.wait(bad)
        await asyncio.sleep(5)
        assert gateway.queries == []
        assert client.statistics().pending == 0


async def test_bad_ids_wait_within_max_pending() -> None:
    """Where errors are yielded, an endless source of bad ids is pulled as they are taken."""
    pulled = 0

    async def source() -> AsyncIterator[Any]:
        nonlocal pulled
        while True:
            pulled += 1
            yield None

    async with Gateway() as gateway, _client(gateway) as client:
        async with client.as_completed(source(), max_pending=7, return_exceptions=True) as run:
            await asyncio.sleep(1)
            assert pulled == 7
            await anext(run)
            await asyncio.sleep(1)
            assert pulled == 8
        assert run.pending == ()  # none of them can be handed in again


class _Id(str):
    """An id of numpy or markupsafe, say: a `str` with methods of its own."""

    __slots__ = ()

    def __str__(self) -> str:
        return "not this"

    def __hash__(self) -> int:
        return 1


async def test_a_subclass_of_str_is_taken_as_its_plain_str() -> None:
    """It is sent, shared and yielded as the text that it holds."""
    async with Gateway() as gateway, _client(gateway) as client:
        ids = [gateway.submit(duration=1) for _ in range(3)]
        own: list[str] = [_Id(request_id) for request_id in ids]
        done = [r.request_id async for r in client.as_completed([*own, *ids])]
        assert sorted(map(str, done)) == sorted(ids)
        assert (await client.wait(own[0])).request_id == ids[0]
        assert {type(query.request_id) for query in gateway.queries} == {str}
        never: list[str] = [_Id(gateway.submit(progress="never"))]
        async with client.as_completed(never) as run:
            pass
        assert [type(request_id) for request_id in run.pending] == [str]


# The user's schedule


class _FailingStart(FixedInterval):
    """Fails for every hundredth id."""

    calls = 0

    def start(self, now: float, *, just_submitted: bool) -> tuple[None, float]:
        """Raise now and then."""
        self.calls += 1
        if self.calls % 100 == 0:
            raise ZeroDivisionError
        return super().start(now, just_submitted=just_submitted)


async def test_a_schedule_that_fails_for_new_ids() -> None:
    """The ids for which it raises fail alone, the cause chained, early or late in the iterable."""
    schedule = _FailingStart(1.0)
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=schedule, max_in_flight=100) as client,
    ):
        ids = [gateway.submit(duration=0) for _ in range(1200)]
        done: list[SamplingRequest] = []
        with anyio.fail_after(60), pytest.raises(PollingFailed) as caught:
            async for request in client.as_completed(ids):
                done.append(request)
        assert len(done) == 1188
        assert [error.request_id for error in caught.value.exceptions] == ids[99::100]
        assert {type(error.__cause__) for error in caught.value.exceptions} == {ZeroDivisionError}


# Leaving


async def test_leaving_before_the_source_was_begun() -> None:
    """A run that is left in the turn in which it was made waits for nothing, and pulls nothing."""
    pulled = False

    async def source() -> AsyncIterator[str]:
        nonlocal pulled
        pulled = True
        yield "id"

    async with Gateway() as gateway, _client(gateway) as client:
        run = client.as_completed(source())
        await run.aclose()
        assert asyncio.get_running_loop().time() < 1
        with pytest.raises(ClientClosed):
            await anext(run)
        await asyncio.sleep(1)
        assert not pulled


async def test_leaving_after_the_client_closed_at_once() -> None:
    """Where the client's tasks never began, leaving a run waits for nothing."""
    async with Gateway() as gateway:
        client = _client(gateway)
        run = client.as_completed(_source(["id"]))
        await client.close()
        await run.aclose()
        assert asyncio.get_running_loop().time() < 1


async def test_an_error_that_was_not_taken_is_pending() -> None:
    """With `return_exceptions` an error is kept nowhere else, so that leaving would lose it."""
    async with Gateway() as gateway, _client(gateway) as client:
        failed = [gateway.submit(duration=1, progress="errored") for _ in range(3)]
        async with client.as_completed(failed, return_exceptions=True) as run:
            await asyncio.sleep(5)
            first = await anext(run)
            assert isinstance(first, RequestError)
            assert run.statistics().failed == 3
        assert set(run.pending) == set(failed) - {str(first.request_id)}
        assert run.failures == ()
        async with client.as_completed(failed) as run_of_records:
            await asyncio.sleep(5)
        assert {error.request_id for error in run_of_records.failures} == set(failed)
        assert run_of_records.pending == ()

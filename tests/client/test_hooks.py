"""What hooks are told, and that none of them can disturb the polling."""

from __future__ import annotations

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, cast

import pytest

from ideogram_async import (
    Credential,
    DeadlineExceeded,
    Event,
    FixedInterval,
    Hook,
    IdeogramClient,
    PollingFailed,
    QueryAnswered,
    RateLimitError,
    RequestEnded,
    RequestError,
    RequestFailed,
    RequestFailing,
    SessionChanged,
)
from ideogram_async.testing import Gateway, Reply, relay_error
from tests.support.calls import assert_silent
from tests.support.lanes import on_fast_lane

pytestmark = pytest.mark.anyio


class Notes(list[Event]):
    """A hook that keeps what it is told."""

    def __call__(self, event: Event) -> None:
        """Keep it."""
        self.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        """Give the events of one kind."""
        return [event for event in self if isinstance(event, kind)]


def client_of(gateway: Gateway, *hooks: Hook, **settings: Any) -> IdeogramClient:
    """Make a client that asks each second."""
    return IdeogramClient(gateway.url, schedule=FixedInterval(1.0), hooks=hooks, **settings)


async def test_each_query_is_told() -> None:
    """Every answer is told once, with its times, its status, and its record or its error."""
    notes = Notes()
    async with Gateway(latency=0.25) as gateway, client_of(gateway, notes) as client:
        request_id = gateway.submit(duration=2.0)
        gateway.script(Reply(500))
        await client.wait(request_id)
        told: list[QueryAnswered] = notes.of(QueryAnswered)
        assert [one.status for one in told] == [query.status for query in gateway.queries]
        assert [one.status for one in told][:2] == [500, 200]
        assert [one.asked for one in told] == [query.at for query in gateway.queries]
        assert [one.answered - one.asked for one in told] == pytest.approx([0.25] * len(told))
        assert {(one.session, one.request_id) for one in told} == {(0, request_id)}
        assert all((one.record is None) is (one.error is not None) for one in told)
        assert told[0].url == f"{gateway.url}/api/ideogram/task-request"


async def test_no_answer_at_all() -> None:
    """A query that got no answer is told with its error, and without a status."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        async with gateway.down():
            waiting = asyncio.create_task(client.wait(gateway.submit(duration=1.0)))
            await asyncio.sleep(1)
        await waiting
    first = notes.of(QueryAnswered)[0]
    assert first.status is None
    assert "no answer from" in str(first.error)


async def test_the_end_of_a_request_is_told_once() -> None:
    """Completion is told once however many await the id, with its age on the server's clock."""
    notes = Notes()
    async with Gateway(latency=0.0) as gateway, client_of(gateway, notes) as client:
        request_id = gateway.submit(duration=10.0)
        await asyncio.gather(*(client.wait(request_id) for _ in range(3)))
    (end,) = notes.of(RequestEnded)
    assert (end.request_id, end.error) == (request_id, None)
    assert end.record.is_complete
    assert end.age == pytest.approx(10.0, abs=1.0)
    assert isinstance(notes[-2], QueryAnswered)
    assert notes[-1] is end


async def test_failures_are_told() -> None:
    """A request that fails, and one whose time is up, are told with the caller's own error."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        ids = [gateway.submit(duration=2.0, errored=True), gateway.submit(progress="never")]
        with pytest.raises(PollingFailed):
            async for _ in client.as_completed(ids, deadline=5.0):
                pass
    ends = {end.request_id: end for end in notes.of(RequestEnded)}
    assert [type(ends[request_id].error) for request_id in ids] == [RequestFailed, DeadlineExceeded]
    assert [ends[request_id].record.request_id for request_id in ids] == ids
    assert [ends[request_id].age for request_id in ids] == [None, None]


class _Raising(FixedInterval):
    """A schedule that fails for each new id."""

    def start(self, now: float, *, just_submitted: bool) -> tuple[Any, float]:
        """Raise."""
        raise ValueError(now, just_submitted)


async def test_a_schedule_that_fails_is_told() -> None:
    """An id that its schedule fails for is told, though it was never asked."""
    notes = Notes()
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=_Raising(1.0), hooks=[notes]) as client,
    ):
        with pytest.raises(RequestError):
            await client.wait(gateway.submit())
    assert "ValueError" in str(notes.of(RequestEnded)[0].error)


async def test_a_deadline_of_one_of_two_callers_is_no_end() -> None:
    """An id that one caller gives up goes on for the other, and its end is told then."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        request_id = gateway.submit(duration=10.0)
        patient = asyncio.create_task(client.wait(request_id))
        with pytest.raises(DeadlineExceeded):
            await client.wait(request_id, deadline=3.0)
        assert notes.of(RequestEnded) == []
        await patient
    assert [end.error for end in notes.of(RequestEnded)] == [None]


async def test_what_is_asked_once_or_left_does_not_end() -> None:
    """Neither a `retrieve`, good or failed, nor a call that is left early ends a request."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        await client.retrieve(gateway.submit(duration=0.0))
        gateway.script(Reply(429), times=3)
        with pytest.raises(RateLimitError):
            await client.retrieve(gateway.submit(duration=0.0))
        async with client.as_completed([gateway.submit(progress="never")]):
            await asyncio.sleep(3)
        await assert_silent(gateway, client)
    assert notes.of(QueryAnswered)
    assert notes.of(RequestEnded) == []


async def test_a_throttle_and_its_end_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A session that is held is told once, and so is its return; the log has both."""
    notes = Notes()
    caplog.set_level(logging.INFO, "ideogram_async")
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        refusal = Reply(429, {"Retry-After": "5"})
        gateway.on_query = lambda query: refusal if 3 < query.at < 7 else None
        await client.wait(gateway.submit(duration=20.0))
    changes = [(one.former, one.state) for one in notes.of(SessionChanged)]
    assert changes == [("open", "throttled"), ("throttled", "open")]
    assert notes.of(SessionChanged)[0].reason == "429, with no message"
    assert [record.message for record in caplog.records] == [
        "session 0: 429, with no message",
        "session 0: throttled, 429, with no message, next try in 5 s",
        "session 0: open again (throttled before)",
    ]


async def test_a_request_with_three_faults_in_a_row_is_told() -> None:
    """The third fault of a request is told once, with its error; the others hear nothing of it."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        sick, sound = gateway.submit(duration=15.0), gateway.submit(duration=15.0)
        gateway.script(Reply(500), times=5, request_id=sick)
        run = client.as_completed([sick, sound])
        assert len([one async for one in run]) == 2
    (failing,) = notes.of(RequestFailing)
    assert (failing.request_id, failing.faults) == (sick, 3)
    assert "500" in str(failing.error)


async def test_a_session_out_of_use_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """A key that is refused, and comes back, is told by its place, with the gateway's words."""
    notes = Notes()
    keys = [Credential(token="key-1"), Credential(token="key-2")]
    async with (
        Gateway(tokens=["key-1", "key-2"]) as gateway,
        client_of(gateway, notes, credentials=keys) as client,
    ):
        gateway.on_query = lambda query: (
            relay_error(401, "key-2 is worth nothing")
            if query.token == "key-2" and query.at < 30
            else None
        )
        ids = [gateway.submit(duration=100.0) for _ in range(4)]
        async for _ in client.as_completed(ids):
            pass
    changes = [(one.session, one.state) for one in notes.of(SessionChanged)]
    assert changes == [(1, "refused"), (1, "open")]
    refused = [one for one in notes.of(QueryAnswered) if one.status == 401]
    assert {one.session for one in refused} == {1}
    reason = notes.of(SessionChanged)[0].reason
    assert "is worth nothing" in reason
    (warning,) = [one for one in caplog.records if one.levelno == logging.WARNING]
    assert warning.message.startswith(f"session 1: refused, {reason}")
    assert not [event for event in notes if "key-" in repr(event)]
    assert "key-" not in caplog.text


async def test_a_gateway_that_is_down_is_told() -> None:
    """While nothing answers the session is broken, and it is open again afterwards."""
    notes = Notes()
    async with Gateway() as gateway, client_of(gateway, notes) as client:
        ids = [gateway.submit(duration=90.0) for _ in range(5)]
        polling = asyncio.create_task(client.wait(ids[0]))
        others = [asyncio.create_task(client.wait(one)) for one in ids[1:]]
        await asyncio.sleep(5)
        async with gateway.down():
            await asyncio.sleep(60)
        await asyncio.gather(polling, *others)
    assert [one.state for one in notes.of(SessionChanged)] == ["broken", "open"]


@pytest.mark.parametrize("error", [ValueError("a hook's own"), asyncio.CancelledError()], ids=repr)
async def test_a_hook_that_raises(error: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """What a hook raises disturbs neither the polling nor the next hook, and is logged once."""
    notes = Notes()

    def failing(_: Event) -> None:
        raise error

    async with Gateway() as gateway, client_of(gateway, failing, notes) as client:
        ids = [gateway.submit(duration=2.0 + n) for n in range(3)]
        assert len([request async for request in client.as_completed(ids)]) == 3
        assert client.statistics().failed == 0
        await assert_silent(gateway, client)
    assert len(notes.of(QueryAnswered)) == len(gateway.queries)
    (logged,) = caplog.records
    assert "failing" in logged.message


async def _coroutine_function(_: Event) -> None:
    """Be of the wrong kind."""


class _CoroutineObject:
    """Is of the wrong kind, too."""

    async def __call__(self, event: Event) -> None:
        """Be awaited by nobody."""


@pytest.mark.parametrize("hook", [_coroutine_function, _CoroutineObject(), "print"])
def test_what_is_no_hook(hook: object) -> None:
    """A coroutine function would never be awaited, and a string not be called: both are refused."""
    with pytest.raises(TypeError, match="hooks"):
        IdeogramClient("https://gateway.example", hooks=[cast("Hook", hook)])


def test_events_are_frozen() -> None:
    """No hook can change what the next one is told."""
    event = SessionChanged(session=0, state="open", former="throttled", reason=None)
    with pytest.raises(AttributeError):
        event.session = 1  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]


_caller: ContextVar[object] = ContextVar("_caller", default=None)


class _Caller:
    """What a caller keeps in its context."""


@on_fast_lane
async def test_the_context_of_a_caller_is_its_own() -> None:
    """What a caller has in its context reaches no hook and is not held; its source sees it.

    On the plain lane aiohttp holds the context in which it opens a connection, as long as that is
    kept.
    """
    seen: list[object] = []
    sourced: list[object] = []

    def hook(_: Event) -> None:
        seen.append(_caller.get())

    async with Gateway() as gateway:
        client = client_of(gateway, hook)

        async def ids() -> AsyncIterator[str]:
            sourced.append(_caller.get())
            yield gateway.submit(duration=3.0)

        async def call(who: object) -> None:
            _caller.set(who)
            async for _ in client.as_completed(ids()):
                pass

        first, second = _Caller(), _Caller()
        for who in (first, second):
            await asyncio.create_task(call(who))
        assert sourced == [first, second]
        assert set(seen) == {None}
        sourced.clear()
        held = [weakref.ref(first), weakref.ref(second)]
        del first, second, who
        await asyncio.sleep(30)
        gc.collect()
        assert [one() for one in held] == [None, None]
        await client.close()

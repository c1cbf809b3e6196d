"""The client end to end: what it sends, how much at once, and what survives a sick gateway."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import anyio
import msgspec
import pytest

from ideogram_async import (
    AuthenticationError,
    BaseURLError,
    Credential,
    FixedInterval,
    IdeogramClient,
    PollingFailed,
    RequestError,
    SamplingRequest,
)
from ideogram_async.testing import HANG, Gateway, Query, Reply, html_reply
from tests.support.faults import FAULTS

pytestmark = pytest.mark.anyio

_ENDS_A_RUN = {
    "token refused",
    "token refused without a code",
    "token refused with a number",
    "token quota used up",
    "account quota used up",
    "account quota used up, as 429",
    "task-style error",
    "unknown path",
    "redirect elsewhere",
}
_SICK = {name: fault for name, fault in FAULTS.items() if name not in _ENDS_A_RUN}
_COMPLETE = "percentage as text"
"""It reads as complete: "100" is a number in all but form."""


def _told(value: Any) -> Any:
    """Turn what was told into plain dicts and lists, without what is null or absent."""
    if isinstance(value, msgspec.Struct):
        value = {name: getattr(value, name) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {name: _told(item) for name, item in value.items() if item is not None}
    return [_told(item) for item in value] if isinstance(value, tuple | list) else value


@pytest.mark.parametrize(
    ("keys", "headers"),
    [
        ({"token": "t-1"}, {"Authorization": "Bearer t-1", "Access-Token": None}),
        ({"access_token": "a-1"}, {"Authorization": None, "Access-Token": "a-1"}),
        (
            {"token": "t-1", "access_token": "a-1"},
            {"Authorization": "Bearer t-1", "Access-Token": "a-1"},
        ),
        ({}, {"Authorization": None, "Access-Token": None}),
    ],
    ids=["bearer", "access token", "both", "none"],
)
async def test_what_a_query_sends(
    keys: dict[str, Any], headers: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each header style, both, or none, is sent as the documents show, to the documented path."""
    for variable in ("IDEOGRAM_TOKEN", "IDEOGRAM_ACCESS_TOKEN"):
        monkeypatch.delenv(variable, raising=False)
    async with Gateway(
        tokens=["t-1"] if "token" in keys else [],
        access_tokens=["a-1"] if "access_token" in keys else [],
        path_prefix="/relay",
        keep_headers=True,
    ) as gateway:
        async with IdeogramClient(gateway.url + "/", **keys, headers={"X-Team": "blue"}) as client:
            assert (await client.wait(gateway.submit(duration=0))).is_complete
        (query,) = gateway.queries
        assert query.headers is not None
        assert {name: query.headers.get(name) for name in headers} == headers
        assert query.path == "/relay/api/ideogram/task-request"
        assert query.headers["Accept"] == query.headers["Content-Type"] == "application/json"
        assert query.headers["User-Agent"].startswith("ideogram-async/")
        assert query.headers["X-Team"] == "blue"


@pytest.mark.parametrize("keys", [{"token": "t-1"}, {"access_token": "a-1"}])
async def test_every_field_comes_out_equal(keys: dict[str, Any]) -> None:
    """What the gateway tells in the documents' shape comes out of a real query field by field."""
    async with Gateway(
        tokens=["t-1"] if "token" in keys else [],
        access_tokens=["a-1"] if "access_token" in keys else [],
    ) as gateway:
        request_id = gateway.submit(duration=0, images=4)
        async with IdeogramClient(gateway.url, **keys) as client:
            request = await client.retrieve(request_id)
        sent = gateway.record(request_id)
        assert len(request.responses) == 4
        assert _told(request) == _told(sent)
        assert request.responses[1].url is not None
        assert request.responses[1].url.endswith(str(request.responses[1].response_id))


async def test_in_flight_reaches_its_limit_and_never_exceeds_it() -> None:
    """200 ids at a limit of 32: the gateway saw 32 in flight, never more, on few connections."""
    async with Gateway(latency=(0.05, 0.4)) as gateway:
        ids = [gateway.submit(duration=1 + n % 20) for n in range(200)]
        async with IdeogramClient(gateway.url, max_in_flight=32) as client:
            results = [r.request_id async for r in client.as_completed(ids)]
        assert sorted(map(str, results)) == sorted(ids)
        assert gateway.peak_in_flight == 32
        assert gateway.connections <= 64


async def test_callers_of_an_id_share_its_queries() -> None:
    """500 waits for 5 ids cost no more queries than 5 do; asked again, an id is asked anew."""

    async def cost(callers: int) -> int:
        async with Gateway(seed=3) as gateway, IdeogramClient(gateway.url) as client:
            ids = [gateway.submit(duration=10 + n) for n in range(5)]
            async with anyio.create_task_group() as tasks:
                for number in range(callers):
                    tasks.start_soon(client.wait, ids[number % 5])
            is_one_shot = len(gateway.queries)
            assert (await client.wait(ids[0])).is_complete
            assert len(gateway.queries) == is_one_shot + 1
            return is_one_shot

    assert await cost(500) == await cost(5)


async def test_runs_and_waits_share_an_id() -> None:
    """A run, a watcher and a wait that overlap each get the id's end, for one stream of queries."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        request_id = gateway.submit(duration=20)
        ends: list[str | None] = []

        async def run(method: str) -> None:
            last = None
            async for request in getattr(client, method)([request_id]):
                last = request.request_id
            ends.append(last)

        async def wait() -> None:
            ends.append((await client.wait(request_id)).request_id)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run, "as_completed")
            await anyio.sleep(3)
            tasks.start_soon(wait)
            await anyio.sleep(3)
            tasks.start_soon(run, "watch")
        assert ends == [request_id] * 3
        assert len(gateway.queries) <= 20


async def test_a_quarter_of_all_answers_sick() -> None:
    """With every kind of fault among a quarter of the answers each id ends exactly once."""
    rng = random.Random(5)
    names = sorted(set(_SICK) - {_COMPLETE})

    def sicken(_: Query) -> Any:
        return _SICK[rng.choice(names)] if rng.random() < 0.25 else None

    async with (
        Gateway(latency=(0.02, 0.2)) as gateway,
        IdeogramClient(
            gateway.url, schedule=FixedInterval(2.0), max_in_flight=50, attempt_timeout=3
        ) as client,
    ):
        loop = asyncio.get_running_loop()
        gateway.on_query = sicken
        ids = [gateway.submit(duration=1 + n % 30) for n in range(250)]
        ends: Counter[str | None] = Counter()
        async for result in client.as_completed(ids, return_exceptions=True):
            ends[result.request_id] += 1
            assert isinstance(result, SamplingRequest), repr(result)
            assert loop.time() >= gateway.completes_at(str(result.request_id))
        assert ends == Counter(ids)
        statuses = {query.status for query in gateway.queries}
        assert statuses >= {0, 200, 400, 403, 404, 422, 429, 500, 502, 503, 504, 520, 526}


@pytest.mark.parametrize("name", sorted(_SICK))
async def test_no_single_fault_costs_an_id(name: str) -> None:
    """After any one fault that concerns the moment, the id is asked again and completes."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0), attempt_timeout=5) as client,
    ):
        ids = [gateway.submit(duration=3) for _ in range(3)]
        gateway.script(_SICK[name])
        results = [r.request_id async for r in client.as_completed(ids)]
        assert sorted(map(str, results)) == sorted(ids)


@pytest.mark.parametrize("name", sorted(_ENDS_A_RUN))
async def test_what_ends_a_run_ends_it_promptly(name: str) -> None:
    """A refused key, or a wrong address, ends every call at once, and lists what is open."""
    async with Gateway() as gateway, IdeogramClient(gateway.url, token="key-1") as client:
        ids = [gateway.submit(progress="never") for _ in range(100)]
        gateway.on_query = lambda _: FAULTS[name]
        with pytest.raises((AuthenticationError, BaseURLError)) as caught:
            async for _ in client.as_completed(ids):
                pass
        assert set(caught.value.pending) == set(ids)
        assert "key-1" not in str(caught.value)
        if isinstance(caught.value, BaseURLError):
            assert gateway.url in str(caught.value)
        with pytest.raises(type(caught.value)) as again:
            await client.wait(ids[0])
        assert again.value.pending == (ids[0],)
        assert len(gateway.queries) <= 40


async def test_another_key_goes_on() -> None:
    """With one key of two refused every id still completes."""
    credentials = [Credential(token="bad"), Credential(token="good")]
    async with (
        Gateway(tokens=["good"]) as gateway,
        IdeogramClient(gateway.url, credentials=credentials) as client,
    ):
        ids = [gateway.submit(duration=5) for _ in range(50)]
        assert len([r async for r in client.as_completed(ids)]) == 50
        assert Counter(query.token for query in gateway.queries)["bad"] <= 20


async def test_no_key_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """A 401 to a client without a key says that none was given, and by which variable it is."""
    monkeypatch.delenv("IDEOGRAM_TOKEN", raising=False)
    monkeypatch.delenv("IDEOGRAM_ACCESS_TOKEN", raising=False)
    async with Gateway(tokens=["t"]) as gateway, IdeogramClient(gateway.url) as client:
        with pytest.raises(
            AuthenticationError, match=r"no key was given \(set IDEOGRAM_TOKEN or IDEOGRAM_ACC"
        ):
            await client.retrieve(gateway.submit())


async def test_web_pages_for_answers_end_the_run() -> None:
    """Web pages alone, over 10 s, end the run: base_url is no gateway's."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        gateway.script(html_reply(200), times=1000)
        ids = [gateway.submit(duration=5) for _ in range(30)]
        with pytest.raises(BaseURLError, match="is it right") as caught:
            async for _ in client.as_completed(ids):
                pass
        assert 10 <= asyncio.get_running_loop().time() <= 15
        assert gateway.url in str(caught.value)
        assert set(caught.value.pending) == set(ids)


async def test_unknown_ids_fail_after_three_answers_5_s_apart() -> None:
    """An id that stays unknown, while others are answered, fails after some 10 s."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        loop = asyncio.get_running_loop()
        run = client.as_completed(
            [gateway.submit(duration=60), "unknown-id"], return_exceptions=True
        )
        async with run:
            error = await anext(run)
        assert isinstance(error, RequestError)
        assert error.request_id == "unknown-id"
        assert "empty list" in str(error)
        assert 10 <= loop.time() <= 18
        assert sum(query.request_id == "unknown-id" for query in gateway.queries) <= 6


async def test_where_nothing_was_ever_answered_unknown_ids_have_30_s() -> None:
    """A gateway that is starting may call every id unknown: the first fails after 30 s."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        loop = asyncio.get_running_loop()
        with pytest.raises(RequestError, match="empty list"):
            await client.wait("unknown-id")
        assert 30 <= loop.time() <= 75


async def test_an_id_that_becomes_visible_later() -> None:
    """An id that is unknown for its first seconds is waited for like any other."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        request_id = gateway.submit(duration=20)
        gateway.script(Reply(404), times=3, request_id=request_id)
        assert (await client.wait(request_id, just_submitted=True)).is_complete


async def test_malformed_answers_fail_an_id_at_the_fifth() -> None:
    """Five malformed answers in a row fail the id alone; one good answer starts anew."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(1.0)) as client,
    ):
        good, bad = gateway.submit(duration=60), gateway.submit(duration=60)
        gateway.script(Reply(200, body=b"OK"), times=9, request_id=bad)
        gateway.script(Reply(200, body=b"OK"), times=2, request_id=good)
        with pytest.raises(PollingFailed) as caught:
            async for request in client.as_completed([good, bad]):
                assert request.request_id == good
        assert [error.request_id for error in caught.value.exceptions] == [bad]
        assert sum(query.request_id == bad for query in gateway.queries) == 5


async def test_a_sick_gateway_fails_no_id() -> None:
    """While nothing has succeeded for 30 s faults are the gateway's, and no id fails of them."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(duration=110) for _ in range(10)]
        async with anyio.create_task_group() as tasks:

            async def poll() -> None:
                assert len([r async for r in client.as_completed(ids)]) == 10

            tasks.start_soon(poll)
            await anyio.sleep(5)
            gateway.on_query = lambda _: Reply(502)
            await anyio.sleep(31)
            gateway.on_query = lambda _: Reply(404)
            await anyio.sleep(60)
            gateway.on_query = None


async def test_hanging_queries_end_by_their_timeout() -> None:
    """A query that is never answered ends by the attempt's timeout, and its id is asked again."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, attempt_timeout=10, max_in_flight=2) as client,
    ):
        request_id = gateway.submit(duration=0)
        gateway.script(HANG)
        assert (await client.wait(request_id)).is_complete
        first, second = gateway.queries
        assert 10 <= second.at - first.at <= 12


async def test_overdue_ids_fail_though_no_query_gets_through() -> None:
    """Ids whose time is up fail even where every slot hangs and their last query has no turn."""
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, max_in_flight=1, schedule=FixedInterval(1.0)) as client,
    ):
        ids = [gateway.submit(progress="never") for _ in range(40)]
        loop = asyncio.get_running_loop()
        async with client.as_completed(ids, deadline=60, return_exceptions=True) as completed:
            await anyio.sleep(30)
            gateway.on_query = lambda _: HANG
            assert len([error async for error in completed]) == 40
        assert loop.time() < 160


async def test_another_loop_is_refused() -> None:
    """A client belongs to the loop of its first call: another one is told so at once."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        await client.wait(gateway.submit(duration=0))

        def shared_ids() -> None:
            with pytest.raises(RuntimeError, match="another event loop"):
                asyncio.run(client.wait("id"))

        await anyio.to_thread.run_sync(shared_ids)


def test_without_a_loop() -> None:
    """A call outside a coroutine is refused with a clear error."""
    client = IdeogramClient("https://gateway.example")
    with pytest.raises(RuntimeError, match="no running event loop"):
        client.as_completed(["id"])


async def test_a_schedule_that_fails_costs_its_id_alone() -> None:
    """A schedule's error, or a delay that is none, fails the id with a clear error."""

    class Broken(FixedInterval):
        def next_delay(self, state: None, seen: Any) -> float:
            return (
                float("nan") if seen.record.request_id == bad else super().next_delay(state, seen)
            )

    async with Gateway() as gateway, IdeogramClient(gateway.url, schedule=Broken(1.0)) as client:
        good, bad = gateway.submit(duration=5), gateway.submit(duration=5)
        with pytest.raises(PollingFailed) as caught:
            async for request in client.as_completed([good, bad]):
                assert request.request_id == good
        (error,) = caught.value.exceptions
        assert error.request_id == bad
        assert "delay of nan" in str(error)

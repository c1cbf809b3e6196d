"""The types of the public surface, as mypy and pyright see them in a user's code.

`surface` is never run: the lint step's type checkers hold every `assert_type` in it. The tests here
see to it that it is whole, and that both checkers are asked.
"""

from __future__ import annotations

import inspect
import tomllib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, assert_type

import pytest

import ideogram_async
from ideogram_async import (
    Event,
    IdeogramClient,
    PollingFailed,
    QueryAnswered,
    RequestEnded,
    RequestError,
    Run,
    RunStatistics,
    SamplingRequest,
    SamplingResponse,
    SessionChanged,
    SessionStatistics,
    Statistics,
)

Result = SamplingRequest | RequestError


async def surface(client: IdeogramClient, ids: list[str], either: bool) -> None:
    """Use every public call as a user would, and say what each gives."""
    async with client as entered:
        assert_type(entered, IdeogramClient)
    assert_type(client.base_url, str)
    assert_type(client.statistics(), Statistics)
    assert_type(client.statistics().sessions, tuple[SessionStatistics, ...])
    assert_type(await client.close(), None)
    assert_type(await client.aclose(), None)
    client.hold(5.0)
    await one_id(client)
    await many_ids(client, ids, either)


async def one_id(client: IdeogramClient) -> None:
    """Ask and wait for one."""
    request = await client.retrieve("id", timeout=None)
    assert_type(request, SamplingRequest)
    assert_type(await client.wait("id", timeout=60, deadline=None), SamplingRequest)
    assert_type(await client.wait("id", just_submitted=True), SamplingRequest)
    assert_type(request.responses, tuple[SamplingResponse, ...])
    assert_type([image.url for image in request.responses], list[str | None])
    assert_type(await client.download(request, "images"), tuple[Path, ...])
    assert_type(await client.download(request.responses[0], Path("images")), Path)
    assert_type(request.is_complete, bool)
    assert_type(request.request_id, str)
    assert_type(request.to_json(), str)
    assert_type(request.responses[0].to_dict(), dict[str, Any])
    assert_type(request.completion_percentage, int | float | None)


async def sourced() -> AsyncIterator[str]:
    """Give ids as they come."""
    yield "id"


async def many_ids(client: IdeogramClient, ids: list[str], either: bool) -> None:
    """Go through runs, by each overload of each call."""
    assert_type(client.as_completed(ids), Run[SamplingRequest])
    assert_type(client.as_completed(sourced(), max_pending=5), Run[SamplingRequest])
    assert_type(client.as_completed(ids, return_exceptions=False), Run[SamplingRequest])
    assert_type(client.as_completed(ids, return_exceptions=True), Run[Result])
    assert_type(
        client.as_completed(ids, return_exceptions=either), Run[SamplingRequest] | Run[Result]
    )
    assert_type(client.watch(ids), Run[SamplingRequest])
    assert_type(client.watch(ids, return_exceptions=True), Run[Result])
    assert_type(client.watch(ids, return_exceptions=either), Run[SamplingRequest] | Run[Result])
    assert_type(client.retrieve_many(ids), Run[SamplingRequest])
    assert_type(client.retrieve_many(ids, return_exceptions=True), Run[Result])
    assert_type(
        client.retrieve_many(ids, return_exceptions=either), Run[SamplingRequest] | Run[Result]
    )
    async for request in client.as_completed(ids):
        assert_type(request, SamplingRequest)
    async for result in client.watch(ids, return_exceptions=True):
        assert_type(result, Result)
    async with client.as_completed(ids) as run:
        assert_type(run, Run[SamplingRequest])
        assert_type(await anext(run), SamplingRequest)
        assert_type(run.pending, tuple[str, ...])
        assert_type(run.rest, Iterator[str])
        assert_type(run.failures, tuple[RequestError, ...])
        assert_type(run.statistics(), RunStatistics)
        assert_type(await run.aclose(), None)


def errors(error: PollingFailed, one: RequestError) -> None:
    """Look into what is raised."""
    assert_type(error.exceptions, tuple[RequestError, ...])
    assert_type(error.pending, tuple[str, ...])
    assert_type((one.request_id, one.request), tuple[str | None, SamplingRequest | None])
    assert_type((one.status, one.retry_after), tuple[int | None, float | None])
    assert_type(one.retryable, bool)


def hook(event: Event) -> None:
    """Be told of events, told apart by their class."""
    match event:
        case QueryAnswered(asked=asked, record=record):
            assert_type(asked, float)
            assert_type(record, SamplingRequest | None)
        case RequestEnded(age=age):
            assert_type(age, float | None)
        case SessionChanged(session=session):
            assert_type(session, int)


def hooked() -> IdeogramClient:
    """Give a function, and a method, as hooks."""
    events: list[Event] = []
    return IdeogramClient("https://gateway.example", hooks=[hook, events.append])


USED = "\n".join(inspect.getsource(part) for part in (surface, one_id, many_ids))
CALLS = [
    name
    for name, value in inspect.getmembers(IdeogramClient, inspect.isfunction)
    if not name.startswith("_")
]


@pytest.mark.parametrize("name", CALLS)
def test_every_call_is_pinned(name: str) -> None:
    """Each public call of the client is among those whose types are asserted."""
    assert f"client.{name}(" in USED


@pytest.mark.parametrize("name", ["as_completed", "watch", "retrieve_many"])
def test_every_overload_is_pinned(name: str) -> None:
    """Each of the calls with overloads is used in all three ways."""
    uses = USED.split(f"client.{name}(")[1:]
    for way in ("return_exceptions=True", "return_exceptions=either"):
        assert any(way in use.split("Run[")[0] for use in uses)
    assert any("return_exceptions" not in use.split("Run[")[0] for use in uses)


@pytest.mark.skipif(
    not (Path(__file__).parents[2] / "pyproject.toml").exists(), reason="no checkout around it"
)
def test_both_checkers_are_asked() -> None:
    """Mypy, strictly, and pyright read this file: without them nothing above is checked."""
    root = Path(__file__).parents[2]
    tool: dict[str, Any] = tomllib.loads((root / "pyproject.toml").read_text())["tool"]
    assert "tests" in tool["mypy"]["packages"]
    assert tool["mypy"]["strict"] is True
    assert "tests" in tool["pyright"]["include"]
    assert (Path(ideogram_async.__file__).parent / "py.typed").exists()

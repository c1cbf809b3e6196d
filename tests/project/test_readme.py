"""Every code block of the README runs, and does what its words say."""

from __future__ import annotations

import asyncio
import inspect
import math
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import ideogram_async
from ideogram_async import (
    AuthenticationError,
    Downloads,
    FixedInterval,
    IdeogramClient,
    RequestError,
    RequestFailed,
    SamplingRequest,
    Schedule,
    WaitTimeout,
)
from ideogram_async.testing import Gateway

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)

pytestmark = pytest.mark.anyio


def _block(name: str) -> dict[str, Any]:
    """Run the block that defines a name, and give what it defines."""
    (source,) = [block for block in BLOCKS if f"def {name}(" in block or f"class {name}" in block]
    scope: dict[str, Any] = {}
    exec(compile(source, f"README: {name}", "exec"), scope)  # noqa: S102 - the README's own code
    return scope


def test_no_block_is_left_out() -> None:
    """Each block defines something that a test here runs, or in the files that stand beside it."""
    files = (
        Path(__file__).parents[1] / name
        for name in (
            "project/test_readme.py",
            "pytest_plugin/test_pytest_plugin.py",
            "ray/test_run.py",
            "client/test_service.py",
        )
    )
    tests = "".join(file.read_text(encoding="utf-8") for file in files)
    for block in BLOCKS:
        names = re.findall(r"^(?:async def|def|class) (\w+)", block, flags=re.MULTILINE)
        run = (f'{how}("{name}")' for how in ("_block", "_suite") for name in names)
        assert any(one in tests for one in run), block


async def test_each_as_it_completes(capsys: pytest.CaptureFixture[str]) -> None:
    """The first example prints each request, in order of completion."""
    async with Gateway(tokens=["my-key"]) as gateway:
        slow, quick = gateway.submit(duration=20), gateway.submit(duration=5)
        order = await _block("finished")["finished"](gateway.url, [slow, quick])
    assert order == [quick, slow]
    assert quick in capsys.readouterr().out


async def test_leaving_early() -> None:
    """The example of leaving hands back what was open, and nothing is asked afterwards."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=n) for n in (3, 50, 60)]
        done, pending = await _block("first")["first"](client, ids)
        assert done == ids[0]
        assert set(pending) == set(ids[1:])


@pytest.mark.parametrize("name", ["at_the_end", "in_the_stream"])
async def test_failures(name: str) -> None:
    """Both examples of failures name the ids that failed."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        failing = gateway.submit(duration=3, progress="errored")
        scope = _block("at_the_end")
        assert await scope[name](client, [gateway.submit(duration=2), failing]) == [failing]


async def test_images(tmp_path: Path) -> None:
    """The example of images saves them all, and goes on after one that is not there."""
    async with Gateway() as gateway:
        downloads = Downloads(assets_url=gateway.assets_url, allow_loopback=True)
        async with IdeogramClient(gateway.url, downloads=downloads) as client:
            ids = [gateway.submit(duration=3, images=2) for _ in range(2)]
            files = await _block("saved")["saved"](client, ids, tmp_path)
            assert len(set(files)) == 4
            assert all(map(Path.is_file, files))
            gateway.route("/assets", lambda _: asyncio.sleep(0, web.Response(status=410)))
            assert await _block("saved")["saved"](client, ids, tmp_path / "other") == []


async def test_two_keys() -> None:
    """The example of two keys makes a client that presents both, in their styles."""
    async with Gateway(tokens=["key-1"], access_tokens=["key-2"]) as gateway:
        gateway.on_query = lambda _: None
        client = _block("client_of_two_keys")["client_of_two_keys"](gateway.url)
        async with client:
            ids = [gateway.submit(duration=1) for _ in range(20)]
            results = [r async for r in client.retrieve_many(ids, return_exceptions=True)]
        assert len(results) == 20
        assert {query.key for query in gateway.queries} == {"key-1", "key-2"}


async def test_a_client_that_remembers(tmp_path: Path) -> None:
    """What one client's schedule has learned is there for the next one."""
    scope, file = _block("client_that_remembers"), tmp_path / "learned.json"
    async with Gateway() as gateway:
        for expected in (False, True):
            client, schedule = scope["client_that_remembers"](gateway.url, file)
            assert bool(schedule.save().kinds) is expected
            async with client:
                ids = [gateway.submit(duration=n) for n in range(5, 15)]
                assert len([r async for r in client.as_completed(ids, just_submitted=True)]) == 10
            scope["remember"](schedule, file)


async def test_a_schedule_of_ones_own() -> None:
    """The example of another schedule works in a client, and asks seldom."""
    schedule: Schedule[float] = _block("HalfOfWhatRemains")["HalfOfWhatRemains"]()
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=schedule, max_rate=math.inf) as client,
    ):
        ids = [gateway.submit(duration=10 + n, progress="linear") for n in range(20)]
        assert len([r async for r in client.as_completed(ids, just_submitted=True)]) == 20
        assert 60 <= len(gateway.queries) <= 260


def test_an_hour_of_polling() -> None:
    """The example of a user's own test passes."""
    _block("test_an_hour_of_polling")["test_an_hour_of_polling"]()


async def test_a_worker_fed_by_a_queue() -> None:
    """Ids that are put into the queue while the worker runs are delivered, failures among them."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    delivered: list[SamplingRequest | RequestError] = []
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        worker = asyncio.create_task(_block("work")["work"](client, queue, delivered.append))
        ids = []
        for duration in (30, 5, 10):
            ids.append(gateway.submit(duration=duration, errored=duration == 10))
            queue.put_nowait(ids[-1])
            await asyncio.sleep(1)
        await asyncio.sleep(20)
        assert [result.request_id for result in delivered] == [ids[1], ids[2]]
        queue.put_nowait(None)
        await worker
    assert [result.request_id for result in delivered] == [ids[1], ids[2], ids[0]]
    assert isinstance(delivered[1], RequestFailed)


async def test_a_script_that_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Over three runs, of which one is out of time and one cancelled, each id is printed once."""
    file = tmp_path / "ids.txt"
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=20.0 * n) for n in (1, 2, 3, 4, 5)]
        file.write_text("\n".join(ids))
        resume = _block("resume")["resume"]
        with pytest.raises(WaitTimeout):
            await resume(client, file, 50)
        cancelled = asyncio.create_task(resume(client, file, 100))
        await asyncio.sleep(35)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert file.read_text().split() == ids[4:]
        await resume(client, file, 100)
    assert file.read_text() == ""
    printed = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert printed == ids


async def test_figures_by_a_hook(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a hook counts what happens, and names the place of a key that is refused."""
    scope = _block("observed_client")
    figures = scope["Figures"]()
    async with (
        Gateway(tokens=["my-key"], latency=0.5) as gateway,
        scope["observed_client"](gateway.url, figures) as client,
    ):
        ids = [gateway.submit(duration=n, errored=n == 3) for n in (1, 2, 3)]
        results = [r async for r in client.as_completed(ids, return_exceptions=True)]
        gateway.revoke("my-key")
        with pytest.raises(AuthenticationError):
            await client.retrieve(ids[0])
    assert (len(results), figures.ended, figures.failed) == (3, 3, 1)
    assert figures.seconds == pytest.approx(0.5 * len(gateway.queries))
    assert "key 0 is out of use: 401" in capsys.readouterr().out


async def test_a_client_that_is_traced() -> None:
    """The example of OpenTelemetry makes a client that works and can be observed."""
    async with (
        Gateway() as gateway,
        _block("traced_client")["traced_client"](gateway.url) as client,
    ):
        assert (await client.wait(gateway.submit(duration=1))).is_complete


SETTINGS = list(inspect.signature(IdeogramClient).parameters)
ARGUMENTS = {
    name
    for call in (IdeogramClient.wait, IdeogramClient.as_completed, IdeogramClient.retrieve_many)
    for name in inspect.signature(call).parameters
} - {"self", "ids", "request_id"}
ERRORS = [
    name
    for name in ideogram_async.__all__
    if inspect.isclass(kind := getattr(ideogram_async, name)) and issubclass(kind, Exception)
]


def _table(head: str) -> str:
    return README.split(f"\n| {head} |", 1)[1].split("\n\n", 1)[0]


@pytest.mark.parametrize(
    ("head", "name"),
    [("setting", name) for name in SETTINGS]
    + [("argument of calls", name) for name in sorted(ARGUMENTS)]
    + [("error", name) for name in ERRORS if name not in {"IdeogramError", "RequestError"}],
)
def test_the_tables_are_complete(head: str, name: str) -> None:
    """Each setting, each argument of a call and each error stands in its table."""
    assert re.search(rf"`{name}[`=]", _table(head))


def test_the_two_commands() -> None:
    """Both commands stand in a line of their own, the first that holds what it runs."""
    for part in ("ideogram-async demo", "-m pytest"):
        line = next(line for line in README.splitlines() if part in line)
        assert line.startswith("python3 -m venv .venv && ")
        assert f"```sh\n{line}\n```" in README


def test_defaults_are_told_as_they_are() -> None:
    """The table of settings tells the defaults that the client has."""
    client = IdeogramClient("https://gateway.example", token="key", schedule=FixedInterval())
    settings = client._settings
    assert "| `max_in_flight` | queries | 20 |" in README
    assert settings.max_in_flight == 20
    assert "| seconds | 900 |" in README
    assert settings.deadline == 900
    assert "| seconds | 30, 5 |" in README
    assert (settings.attempt_timeout, settings.connect_timeout) == (30, 5)
    assert settings.max_body == 1 << 20
    assert "Downloads(max_at_once=4, max_bytes=256 << 20, timeout=300)" in README
    assert settings.downloads == Downloads(max_at_once=4, max_bytes=256 << 20, timeout=300)

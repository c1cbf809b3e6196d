"""Every block of code of the READMEs runs, and does what its words say; the tables are complete."""

from __future__ import annotations

import asyncio
import inspect
import math
import os
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

import ideogram_async
from ideogram_async import (
    AuthenticationError,
    Credential,
    Downloads,
    FixedInterval,
    Hook,
    IdeogramClient,
    RequestError,
    RequestFailed,
    SamplingRequest,
    Schedule,
)
from ideogram_async.telemetry import Telemetry
from ideogram_async.testing import Gateway
from tests.examples import (
    an_hour,
    blocking,
    failures,
    hook,
    images,
    learned,
    leaving,
    own_schedule,
    queue_worker,
    resume,
    traced,
)
from tests.support.commands import TOKEN, Served

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
EXAMPLES = {
    file.stem: file.read_text(encoding="utf-8")
    for file in sorted((ROOT / "tests/examples").glob("[a-z]*.py"))
}
IN_DOCSTRINGS = {"hook": Hook, "own_schedule": Schedule, "traced": Telemetry}
LONGEST_README = 260
"""Lines."""

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Serve a gateway to other processes and threads."""
    served = Served()
    yield served
    served.close()


def _readmes() -> list[Path]:
    """List the READMEs that git knows of, those of folders too."""
    folders = [ROOT, *(ROOT / name for name in ("benchmarks", "ideogram_async", "tests"))]
    found = [folder / "README.md" for folder in folders] + [
        *(ROOT / "ideogram_async").glob("*/README.md")
    ]
    return [file for file in found if file.exists()]


# Every example is shown word for word, and run


def test_every_block_is_an_example() -> None:
    """Each block of Python of each README is a part of an example, which is linted and typed."""
    blocks = [
        block
        for file in _readmes()
        for block in re.findall(
            r"^```python\n(.*?)^```$",
            file.read_text(encoding="utf-8"),
            flags=re.DOTALL | re.MULTILINE,
        )
    ]
    assert len(blocks) >= 9
    for block in blocks:
        assert any(block in example for example in EXAMPLES.values()), block


@pytest.mark.parametrize("name", IN_DOCSTRINGS)
def test_examples_in_docstrings(name: str) -> None:
    """What needs an example to be understood has it in its docstring, word for word."""
    assert textwrap.indent(EXAMPLES[name], "    ") in f"{inspect.getdoc(IN_DOCSTRINGS[name])}\n"


def test_every_example_is_run() -> None:
    """Each example is named by a test that runs it."""
    files = (
        "project/test_readme",
        "pytest_plugin/test_pytest_plugin",
        "ray/test_run",
        "redis/test_examples",
    )
    tests = "".join(
        (ROOT / f"tests/{file}.py").read_text(encoding="utf-8")
        for file in (*files, "client/test_service")
    )
    assert [name for name in EXAMPLES if not re.search(rf"\b{name}\b", tests)] == []


def test_the_readme_is_short() -> None:
    """It is read in one go: what few need lies in the READMEs of folders."""
    assert len(README.splitlines()) <= LONGEST_README


def test_links_lead_somewhere() -> None:
    """Each link of a README to a file of the repository leads to one."""
    for readme in _readmes():
        for target in re.findall(r"\]\(([^):]+)\)", readme.read_text(encoding="utf-8")):
            assert (readme.parent / target).exists(), f"{readme}: {target}"


def test_the_first_script() -> None:
    """The first block is a complete script; `cli/test_first_hour.py` runs it."""
    first = f"```python\n{EXAMPLES['first']}```"
    assert README.index(first) == README.index("```python")


async def test_leaving_early() -> None:
    """The example of leaving returns what was open, and nothing is asked afterwards."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=n) for n in (3, 50, 60)]
        done, pending = await leaving.first_of(client, ids)
        assert done == ids[0]
        assert set(pending) == set(ids[1:])


@pytest.mark.parametrize("poll", [failures.raised_at_the_end, failures.yielded])
async def test_failures(poll: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Both examples of failures name the id that failed, and the one that is complete."""
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        failing, sound = gateway.submit(duration=3, errored=True), gateway.submit(duration=2)
        await poll(client, [sound, failing])
    told = capsys.readouterr().out
    assert f"failed: {failing} " in told
    assert f"complete: {sound}\n" in told


async def test_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The example of images saves them all, and goes on after one that is not there."""
    async with Gateway() as gateway:
        downloads = Downloads(assets_url=gateway.assets_url, allow_loopback=True)
        async with IdeogramClient(gateway.url, downloads=downloads) as client:
            ids = [gateway.submit(duration=3, images=2) for _ in range(2)]
            await images.save_all(client, ids, tmp_path)
            assert len(os.listdir(tmp_path)) == 4  # noqa: PTH208 - in a coroutine
            gateway.route("/assets", lambda _: asyncio.sleep(0, web.Response(status=410)))
            await images.save_all(client, ids, tmp_path / "other")
    assert capsys.readouterr().out.count("the answer is 410 Saved:") == 2


async def test_a_blocking_caller(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job in a thread polls with a loop and a client of its own."""
    monkeypatch.setenv("IDEOGRAM_BASE_URL", served.gateway.url)
    monkeypatch.setenv("IDEOGRAM_TOKEN", TOKEN)
    ids = [served.submit(duration=0)]
    done = await asyncio.to_thread(blocking.finished, ids)
    assert [request.request_id for request in done] == ids


async def test_two_keys() -> None:
    """Several keys, as the table of settings has them, are used together, each in its style."""
    keys = [Credential(token="key-1"), Credential(access_token="key-2")]
    async with (
        Gateway(tokens=["key-1"], access_tokens=["key-2"]) as gateway,
        IdeogramClient(gateway.url, credentials=keys) as client,
    ):
        ids = [gateway.submit(duration=1) for _ in range(20)]
        results = [r async for r in client.retrieve_many(ids, return_exceptions=True)]
        assert len(results) == 20
        assert {query.key for query in gateway.queries} == {"key-1", "key-2"}


async def test_a_client_that_remembers(tmp_path: Path) -> None:
    """What one client's schedule has learned is there for the next one."""
    file = tmp_path / "learned.json"
    async with Gateway() as gateway:
        for expected in (False, True):
            client, schedule = learned.client_that_remembers(gateway.url, file)
            assert bool(schedule.save().kinds) is expected
            async with client:
                ids = [gateway.submit(duration=n) for n in range(5, 15)]
                assert len([r async for r in client.as_completed(ids, just_submitted=True)]) == 10
            learned.remember(schedule, file)


async def test_a_schedule_of_ones_own() -> None:
    """The example of another schedule works in a client, and asks rarely."""
    schedule: Schedule[float] = own_schedule.HalfOfWhatRemains()
    async with (
        Gateway() as gateway,
        IdeogramClient(gateway.url, schedule=schedule, max_rate=math.inf) as client,
    ):
        ids = [gateway.submit(duration=10 + n, progress="linear") for n in range(20)]
        assert len([r async for r in client.as_completed(ids, just_submitted=True)]) == 20
        assert 60 <= len(gateway.queries) <= 260


def test_an_hour_of_polling() -> None:
    """The example of a user's own test passes."""
    an_hour.test_an_hour_of_polling()


async def test_a_worker_fed_by_a_queue() -> None:
    """Ids that are put into the queue while the worker runs are delivered, failures among them."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    delivered: list[SamplingRequest | RequestError] = []
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        worker = asyncio.create_task(queue_worker.work(client, queue, delivered.append))
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
    """Over three runs, one out of time and one cancelled, each id is printed once, failed or not.

    A run that is out of time says so, and ends well: that is its normal case.
    """
    file = tmp_path / "ids.txt"
    async with Gateway() as gateway, IdeogramClient(gateway.url) as client:
        ids = [gateway.submit(duration=20.0 * n, errored=n == 2) for n in (1, 2, 3, 4, 5)]
        file.write_text("\n".join(ids))
        assert await resume.resume(client, file, 50) == 3
        assert "within the timeout" in capsys.readouterr().err
        cancelled = asyncio.create_task(resume.resume(client, file, 100))
        await asyncio.sleep(35)
        cancelled.cancel()
        await asyncio.wait([cancelled])
        assert file.read_text().split() == ids[4:]
        assert await resume.resume(client, file, 100) == 0
    assert file.read_text() == ""


async def test_figures_by_a_hook(capsys: pytest.CaptureFixture[str]) -> None:
    """The example of a hook counts what happens, and names the index of a key that is refused."""
    figures = hook.Figures()
    async with (
        Gateway(tokens=["key"], latency=0.5) as gateway,
        IdeogramClient(gateway.url, token="key", hooks=[figures]) as client,
    ):
        ids = [gateway.submit(duration=n, errored=n == 3) for n in (1, 2, 3)]
        results = [r async for r in client.as_completed(ids, return_exceptions=True)]
        gateway.revoke("key")
        with pytest.raises(AuthenticationError):
            await client.retrieve(ids[0])
    assert (len(results), figures.ended, figures.failed) == (3, 3, 1)
    assert figures.seconds == pytest.approx(0.5 * len(gateway.queries))
    assert "key 0 is out of use: 401" in capsys.readouterr().out


async def test_a_client_that_is_traced() -> None:
    """The example of OpenTelemetry makes a client that works and can be observed."""
    async with Gateway() as gateway, traced.traced_client(gateway.url) as client:
        assert (await client.wait(gateway.submit(duration=1))).is_complete


# The tables are complete


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

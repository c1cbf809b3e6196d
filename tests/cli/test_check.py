"""`check`: the state of each id for one query. `serve`: the gateway alone."""

from __future__ import annotations

import os
import signal
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import anyio
import msgspec
import pytest
import typer

from ideogram_async import IdeogramClient, SamplingRequest, SamplingResponse
from ideogram_async.cli import app
from ideogram_async.cli._check import run_check, state_of
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._results import Stream
from ideogram_async.testing import PATH, Gateway
from tests.support.commands import Served, environment_for, run, start

HOSTILE = "\x1b[2J\x9b31m\x7f \u202egnp.exe"


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Serve a gateway to other processes."""
    served = Served()
    yield served
    served.close()


@pytest.mark.anyio
async def test_one_query_an_id_and_a_row_for_each(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever their state, each id costs one query and is one plain line, those unknown too."""
    async with Gateway() as gateway:
        ids = [
            gateway.submit(duration=0, prompt=HOSTILE),
            "-unknown",
            gateway.submit(duration=100, progress="linear", submitted=-50.0),
            gateway.submit(duration=0, progress="moderated"),
            gateway.submit(duration=0, progress="errored"),
            gateway.submit(queue=10, progress="absent"),
        ]
        with pytest.raises(typer.Exit) as ended:
            await run_check(IdeogramClient(gateway.url), [*ids, ids[0]], 30.0, None)
        assert len(gateway.queries) == len(ids)
    assert ended.value.exit_code == 1
    table, told = capsys.readouterr()
    rows = table.splitlines()
    assert sorted(row.split()[0] for row in rows) == sorted(ids)
    rows.sort(key=lambda row: ids.index(row.split()[0]))
    states = ["complete  ", "RequestNotFound", "50 %", "complete, no images", "failed", "queued"]
    assert all(state in row for state, row in zip(states, rows, strict=True))
    assert all(row.isprintable() for row in rows)
    assert "gnp.exe" in rows[0]
    assert told.splitlines()[-1] == "5 of 6 answered, 1 failed, 6 queries, in 0 s"


@pytest.mark.anyio
async def test_rows_are_printed_as_the_answers_come(capsys: pytest.CaptureFixture[str]) -> None:
    """What was answered stands in the table while the rest is still asked for."""
    early: list[str] = []
    async with Gateway() as gateway, anyio.create_task_group() as tasks:
        ids = [gateway.submit(duration=0) for _ in range(30)]
        client = IdeogramClient(gateway.url, max_rate=1)
        tasks.start_soon(run_check, client, ids, None, None)
        await anyio.sleep(10)
        early += capsys.readouterr().out.splitlines()
        assert 0 < len(early) == client.statistics().completed < 30
    assert len(early) + len(capsys.readouterr().out.splitlines()) == 30


@pytest.mark.anyio
async def test_a_bulk_takes_its_time_unless_a_timeout_is_given() -> None:
    """No list is too long for the default; a timeout says how far it came."""
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=0) for _ in range(1_200)]
        with pytest.raises(CommandError, match=r"^\d\d of 1,200 answered within 30 s$") as ended:
            await run_check(IdeogramClient(gateway.url, max_rate=1), [*ids, ids[0]], 30.0, None)
        assert ended.value.code == Code.ENDED
        gateway.queries.clear()
        await run_check(IdeogramClient(gateway.url, max_rate=5), ids[:400], None, None)
        assert len(gateway.queries) == 400
        assert gateway.queries[-1].at > 60


@pytest.mark.anyio
async def test_as_json() -> None:
    """With --json each record is a line, unfinished ones too."""
    source, output = os.pipe()
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=9) for _ in range(3)]
        await run_check(IdeogramClient(gateway.url), ids, 30.0, Stream(output))
    os.close(output)
    with open(source, "rb") as file:  # noqa: ASYNC230, PTH123 - a pipe that has ended
        records = [msgspec.json.decode(line) for line in file]
    assert sorted(record["request_id"] for record in records) == sorted(ids)
    assert {record["is_completed"] for record in records} == {False}


@pytest.mark.parametrize(
    ("fields", "state"),
    [
        ({}, "queued"),
        ({"has_started": True}, "running"),
        ({"completion_percentage": 99.4}, "99 %"),
        ({"completion_percentage": 100, "is_errored": True}, "failed"),
        ({"is_completed": True}, "complete, no images"),
        ({"is_completed": True, "responses": (SamplingResponse(),)}, "complete"),
    ],
)
def test_states(fields: dict[str, Any], state: str) -> None:
    """A state is a word or two; a failure wins over 100 %."""
    assert state_of(SamplingRequest(**fields)) == state


def test_check_as_a_command(served: Served) -> None:
    """Through a pipe the table is whole and without colour, and its figures are apart.

    Any encoding will do.
    """
    prompt = "a very long prompt " * 10
    request_id = served.submit(duration=0, prompt=f"灯 {prompt}")
    env = environment_for(served) | {"FORCE_COLOR": "1", "PYTHONIOENCODING": "ascii"}
    code, output, errors = run(served, "check", "--", request_id, env=env)
    assert (code, errors) == (0, "1 of 1 answered, 1 query, in 0 s\n")
    assert output.endswith(f"\\u706f {prompt.strip()}\n")
    assert output.replace("\n", "").isprintable()


def test_check_of_no_ids(capfd: pytest.CaptureFixture[str]) -> None:
    """Without any id nothing is asked: the usage is wrong."""
    with pytest.raises(SystemExit, match="2"):
        app(["check"], prog_name="ideogram-async")
    output, errors = capfd.readouterr()
    assert output == ""
    assert "no ids" in errors


def test_serve_is_the_gateway_alone() -> None:
    """It prints its address and its ids, and goes on with new ids until Ctrl-C."""
    options = ("--port", "0", "--count", "3", "--fail", "1", "--duration", "0", "--limit", "50")
    with start(None, "serve", *options) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stderr.readline().decode().strip().removeprefix("export IDEOGRAM_BASE_URL=")
        ids = [process.stdout.readline().decode().strip() for _ in range(4)]  # one comes later
        records = {one: _record(url, one) for one in ids}
        assert [records[one]["is_errored"] for one in ids] == [False, False, True, False]
        assert records[ids[0]]["responses"][0]["image_url"].startswith(f"{url}/assets/")
        with pytest.raises(urllib.error.HTTPError, match="404") as missing:
            urllib.request.urlopen(f"{url}/assets/image/lossless/response/none")  # noqa: S310
        missing.value.close()
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


def _record(url: str, request_id: str) -> Any:
    query = urllib.request.Request(  # noqa: S310 - on loopback
        url + PATH, msgspec.json.encode({"request_id": request_id}), method="POST"
    )
    with urllib.request.urlopen(query, timeout=10) as answer:  # noqa: S310 - as above
        (record,) = msgspec.json.decode(answer.read())["sampling_requests"]
    return record


def test_serve_on_a_port_that_is_taken(served: Served, capfd: pytest.CaptureFixture[str]) -> None:
    """A port of somebody else is one line of complaint, with the option that helps."""
    port = served.gateway.url.rpartition(":")[2]
    with pytest.raises(SystemExit, match="3"):
        app(["serve", "--port", port], prog_name="ideogram-async")
    told = f"ideogram-async: port {port} is in use; --port 0 takes one that is free\n"
    assert capfd.readouterr() == ("", told)

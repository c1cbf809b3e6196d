"""The benchmarks run and write their figures; no test checks how fast anything is."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import benchmarks.faults.__main__ as faults
from benchmarks._machine import ROOT
from benchmarks.faults.scenes import SCENES
from benchmarks.schedule import gather, optimistic
from benchmarks.schedule.informed import poll_informed
from benchmarks.schedule.workloads import workload
from benchmarks.speed import (
    engine,
    hooks,
    pending_ids,
    processes,
    profile,
    rounds,
    scale,
    throughput,
)
from benchmarks.speed.answers import COMPLETE, make_ids
from benchmarks.speed.child import started
from benchmarks.speed.competitors import Target
from benchmarks.speed.rounds import Rounds, Row
from benchmarks.speed.server import Server, serving
from benchmarks.speed.stalls import Heartbeat
from benchmarks.speed.stub_transport import replace_transport
from benchmarks.speed.stubbed import STUBBED
from benchmarks.speed.ticking_loop import TickingLoop
from ideogram_async._transport.transport import Transport
from ideogram_async.testing import run_in_virtual_time


@pytest.fixture(autouse=True)
def _briefly_warm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin after a query per connection: no test looks at how fast a client is."""
    monkeypatch.setattr(rounds, "WARM_UP_QUERIES_PER_CONNECTION", 1)


@pytest.fixture
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make plots, where matplotlib is installed, but do not draw them: that takes half a second."""
    with suppress(ImportError):
        monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda *_, **__: None)


@pytest.mark.parametrize("file", ["README.md", "benchmarks/README.md"])
def test_every_documented_command_exists(file: str) -> None:
    """Each command that a README names runs a module or a folder's `__main__`."""
    text = (ROOT / file).read_text(encoding="utf-8")
    commands = set(re.findall(r"`benchmarks\.\w+|-m benchmarks\.\w+", text))
    assert commands
    for name in {command.lstrip("`-m ") for command in commands}:
        spec = find_spec(name)
        assert spec is not None, name
        assert spec.submodule_search_locations is None or find_spec(f"{name}.__main__"), name


def _written(directory: Path, name: str) -> Any:
    return msgspec.json.decode((directory / f"{name}.json").read_bytes())


@pytest.mark.usefixtures("_undrawn")
def test_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of our clients is compared with the bare loop, and each goal is checked."""
    clients = ["bare", "as_completed", "polling"]
    sizes = ["--rounds", "1", "--queries", "70", "--pending", "80"]
    throughput.main([*sizes, "--only", *clients, "--output", str(tmp_path)])
    written = _written(tmp_path, "throughput")
    assert [row["client"] for row in written["rows"]] == clients
    assert all(row["costs"][0] > 0 for row in written["rows"])
    assert [goal["limit"] for goal in written["goals"]] == [0.48, 0.6]
    assert "x aiohttp, tuned" in capsys.readouterr().out


def test_the_optimistic_reference_is_cheaper_than_who_knows_the_laws(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told more, so its lag and its queries together cost less."""
    monkeypatch.setattr(optimistic, "LOOKS", 12)  # a coarse choice of the first query's time
    informed = poll_informed(workload("A", 1, 60), 0.05)
    lag, polls = optimistic.plan("A", 0.05)
    assert 0.7 < (lag + 0.05 * polls) / (informed.mean_lag + 0.05 * informed.mean_polls) < 1


def test_hooks() -> None:
    """A client with hooks is measured as a ratio to one without."""
    turns = Rounds(queries=70, pending=0, core=None, callgrind=False)
    rows = hooks.measure(turns, 1, ["as_completed", "spans"])
    assert turns.skipped == {}
    lines = list(hooks.result_lines(rows))
    assert sum(line.startswith("ours, ") for line in lines) == 2
    assert "1.00" in next(line for line in lines if line.startswith("ours, as_completed"))


@pytest.mark.parametrize("name", STUBBED)
def test_an_engine_without_http(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client over the transport without HTTP answers each id, by the clock that ticks."""
    monkeypatch.setattr("ideogram_async._runtime.Transport", Transport)  # it is replaced

    async def drain() -> None:
        target = Target(engine.NO_SERVER.base_url, None, 8, 60)
        async with STUBBED[name].opened(target) as drain:
            ids = make_ids(60, COMPLETE)
            assert sorted(await drain(ids)) == sorted(ids)

    with asyncio.Runner(loop_factory=TickingLoop) as runner:
        runner.run(drain())


def test_the_engines_own_instructions_are_what_bare_workers_do_not_take() -> None:
    """The engine is judged by the difference, and a shared limiter by the ratio of the whole."""
    costs = {"stub_workers": 40.0, "stub_as_completed": 100.0}
    costs |= {"stub_found": 100.0, "stub_told": 104.0, "stub_shared": 104.0}
    rows = [Row(name, engine.LOOP, False, [cost], [], []) for name, cost in costs.items()]
    lines = "\n".join(engine.result_lines(rows))
    assert "holds    60.000 ≤ 70 " in lines
    assert "FAILS     1.040 ≤ 1.03" in lines
    assert "holds     1.000 ≤ 1.03" in lines


def test_a_client_that_fails_is_skipped_wholly() -> None:
    """A client that has failed once has no figures: rows are compared round by round.

    Before that it has them, over TLS, from the server in Python, which needs no compiler.
    """
    turns = Rounds(queries=70, pending=0, core=None, callgrind=False)
    with serving(tls=True) as server:
        assert server.what.startswith("Python")
        turns.run(["floor"], ["asyncio"], server, rounds=1)
    assert turns.skipped == {}
    assert len(turns.rows()[0].costs) == 1
    turns.run(["floor"], ["asyncio"], server, rounds=1)
    (reason,) = turns.skipped.values()
    assert "FileNotFoundError" in reason  # its certificate, which left with the server
    assert turns.rows() == []


def test_what_is_not_installed_is_skipped_with_a_reason() -> None:
    """A client or loop that is missing costs its own rows, and no others."""
    turns = Rounds(queries=70, pending=0, core=None, callgrind=False)
    server = Server("http://127.0.0.1:9", "none", None)
    turns.run(["bare"], ["no_such_loop"], server, rounds=1)
    assert turns.notes() == ["skipped: bare (no_such_loop), no_such_loop is not installed"]
    assert turns.rows() == []


@contextmanager
def _started_or_played(module: str, task: pending_ids.PendingTask) -> Iterator[Any]:
    """Start a process for the last task, and measure the others here, which costs less."""
    if task.who == "tasks":
        with started(module, task) as child:
            yield child
    else:
        yield SimpleNamespace(receive=lambda _: asyncio.run(pending_ids.measure(task)))


@pytest.mark.usefixtures("_undrawn")
def test_scale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every source of ids, and a task per id, go through all phases."""
    monkeypatch.setattr("ideogram_async._runtime.Transport", Transport)  # it is replaced
    replace_transport()
    monkeypatch.setattr(scale, "started", _started_or_played)
    sizes = ["--rounds", "1", "--sizes", "100", "--polls", "30"]
    scale.main([*sizes, "--output", str(tmp_path)])
    rows = _written(tmp_path, "scale")["rows"]
    assert [(row["who"], row["source"], row["count"]) for row in rows] == [
        ("ours", "list", 100),
        ("ours", "generator", 100),
        ("ours", "async", 100),
        ("ours", "list, frozen", 100),
        ("tasks", "list", 100),
    ]
    assert all(set(row["rounds"][0]["stalls"]) == set(scale.PHASES) for row in rows)


@pytest.mark.usefixtures("_undrawn")
def test_processes(tmp_path: Path) -> None:
    """Two processes ask for a number of ids between them, at one time."""
    sizes = ["--rounds", "1", "--counts", "2", "--queries", "80", "--output", str(tmp_path)]
    processes.main(sizes)
    rows = _written(tmp_path, "processes")["rows"]
    assert [(row["processes"], len(row["rates"])) for row in rows] == [(2, 1)]


def test_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """A profile shows the share of each owner, and finds each owner's code."""
    throughput.main(["--profile", "retrieve_many", "--queries", "70"])
    shares = capsys.readouterr().out.split("\n\n")[1:]
    assert [share.split(":")[0] for share in shares] == list(profile.OWNERS)
    # aiohttp has no part in an answer of the usual form.
    found = ("", "base_events.py", "dispatcher.py", "msgspec", "")
    assert all(name in share for name, share in zip(found, shares, strict=True))


def test_faults(capsys: pytest.CaptureFixture[str]) -> None:
    """A scene is played for each seed, and its figures stand beside their goals."""
    assert faults.main(["--only", "reported/proxy/socks", "--seeds", "1-2"]) == 0
    told = capsys.readouterr().out
    assert "accepted ≤ 0" in told
    assert "1 of   1 hold" in told


def test_no_scene_of_faults_is_listed_twice() -> None:
    """Under two names a scene would count twice in the sweep, and in its figures."""
    assert len(set(map(repr, SCENES.values()))) == len(SCENES)


def test_gather(capsys: pytest.CaptureFixture[str]) -> None:
    """The table has a row per way to poll, as the README shows it."""
    gather.main(["--seeds", "1", "--requests", "30", "--background", "30"])
    told = capsys.readouterr().out
    for row in gather.ROWS:
        assert f"\n| {row} | " in told
        assert f"\n| {row} | " in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.anyio
async def test_a_stall_is_seen() -> None:
    """Work that holds up the loop counts in full, and only until it is read."""
    heart = Heartbeat()
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    seen = heart.longest()
    assert seen.work >= 20
    assert heart.longest().work < seen.work
    heart.stop()


def test_fleet() -> None:
    """Two clients with one budget, the script run by Lua: all ids are done, in even parts."""
    pytest.importorskip("lupa", reason="it is not installed")
    from benchmarks.limits.fleet import virtual_peers  # noqa: PLC0415 - an extra

    figures = run_in_virtual_time(virtual_peers, 1, 2, 20.0)
    assert figures["done"] == 200
    assert figures["share"] < 20

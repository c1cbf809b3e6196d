"""The benchmarks run and write what they found; how fast anything is, no test says."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benchmarks.speed import hooks, processes, profile, scale, throughput
from benchmarks.speed.rounds import Rounds
from benchmarks.speed.server import Server, serving
from benchmarks.speed.stalls import Heartbeat


def _written(directory: Path, name: str) -> Any:
    return msgspec.json.decode((directory / f"{name}.json").read_bytes())


def test_throughput(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each of ours is measured against the bare loop, and every goal that can be is judged."""
    clients = ["bare", "as_completed", "polling"]
    sizes = ["--rounds", "1", "--queries", "70", "--pending", "80"]
    throughput.main([*sizes, "--only", *clients, "--output", str(tmp_path)])
    told = _written(tmp_path, "throughput")
    assert [row["client"] for row in told["rows"]] == clients
    assert all(row["costs"][0] > 0 for row in told["rows"])
    assert [goal["limit"] for goal in told["goals"]] == [1.15, 1.4]
    assert "x aiohttp, tuned" in capsys.readouterr().out


def test_hooks() -> None:
    """A client that is observed is measured, and told as a ratio to one that is not."""
    rounds = Rounds(queries=70, pending=0, core=None, callgrind=False)
    rows = hooks.measure(rounds, 1, ["as_completed", "spans"])
    assert rounds.skipped == {}
    told = list(hooks.tell(rows))
    assert sum("ours, " in line for line in told) == 2
    assert "1.00" in next(line for line in told if "hooks off" in line)


def test_the_floor_over_tls_without_a_compiler(tmp_path: Path) -> None:
    """The server in Python answers as the one in C does, over TLS, where that is trusted."""
    rounds = Rounds(queries=70, pending=0, core=None, callgrind=False)
    with serving(tmp_path, tls=True, core=None) as server:
        assert server.what.startswith("Python")
        rounds.run(["floor"], ["asyncio"], server, rounds=1)
    assert rounds.skipped == {}
    assert len(rounds.rows()[0].costs) == 1


def test_what_is_not_installed_is_skipped_with_a_word() -> None:
    """A client or loop that is not there costs its own rows, and no other's."""
    rounds = Rounds(queries=70, pending=0, core=None, callgrind=False)
    server = Server("http://127.0.0.1:9", "none", None)
    rounds.run(["bare"], ["no_such_loop"], server, rounds=1)
    assert rounds.skipped == {"bare (no_such_loop)": "no_such_loop is not installed"}
    assert rounds.rows() == []


@pytest.mark.parametrize("when", ["at once", "later"])
def test_what_fails_is_skipped_whole(tmp_path: Path, when: str) -> None:
    """A client that has failed once has no figures, for rounds are compared one by one."""
    rounds = Rounds(queries=70, pending=0, core=None, callgrind=False)
    with serving(tmp_path, tls=False, core=None) as server:
        if when == "later":
            rounds.run(["floor"], ["asyncio"], server, rounds=1)
            assert len(rounds.rows()) == 1
    rounds.run(["floor"], ["asyncio"], server, rounds=1)
    assert "ConnectionRefusedError" in rounds.skipped["floor (asyncio)"]
    assert rounds.rows() == []


def test_scale(tmp_path: Path) -> None:
    """Every source of ids and a task an id go through all phases."""
    sizes = ["--rounds", "1", "--sizes", "1200", "--polls", "500"]
    scale.main([*sizes, "--output", str(tmp_path)])
    rows = _written(tmp_path, "scale")["rows"]
    assert [(row["who"], row["source"], row["count"]) for row in rows] == [
        ("ours", "list", 1200),
        ("ours", "generator", 1200),
        ("ours", "async", 1200),
        ("ours", "list, frozen", 1200),
        ("tasks", "list", 1200),
    ]
    assert all(set(row["rounds"][0]["stalls"]) == set(scale.PHASES) for row in rows)


def test_processes(tmp_path: Path) -> None:
    """One process and two ask the same number of ids, the two at one time."""
    sizes = ["--rounds", "1", "--queries", "80", "--output", str(tmp_path)]
    processes.main(sizes)
    rows = _written(tmp_path, "processes")["rows"]
    assert [(row["processes"], len(row["rates"])) for row in rows] == [(1, 1), (2, 1)]


def test_a_profile(capsys: pytest.CaptureFixture[str]) -> None:
    """A profile tells of each party's share, and finds the parts where they are."""
    throughput.main(["--profile", "retrieve_many", "--queries", "70"])
    parties = capsys.readouterr().out.split("\n\n")[1:]
    assert [party.split(":")[0] for party in parties] == list(profile.OWNERS)
    found = ("streams.py", "base_events.py", "dispatcher.py", "msgspec", "")
    assert all(name in party for name, party in zip(found, parties, strict=True))


@pytest.mark.anyio
async def test_a_stall_is_seen() -> None:
    """Work that holds up the loop counts in full, and no longer once it was told."""
    heart = Heartbeat()
    until = time.process_time() + 0.02
    while time.process_time() < until:
        pass
    seen = heart.longest()
    assert seen.work >= 20
    assert heart.longest().work < seen.work
    heart.stop()

"""What a query costs, ours and others', side by side: `python -m benchmarks.throughput`.

Each client asks a server on loopback for the same answers of 3.8 KB, in a process of its own on
the client's core, in turn with all others, many rounds, each turn right behind one of the tuned
aiohttp loop, which both sides of a ratio are held against; what is told is the median. The figure
to look at is CPU time, of user and system, a query: queries a second are its reverse while the
client's core is the limit, as it should be.

A word on bias. This is our benchmark: ours is the client whose cost we worked on, against the
answers that it is made for, and it is the bare aiohttp loop plus what it does for its user. Every
other client here does more in some way, or has another aim: httpx and niquests speak HTTP/2 and
much else, primp and curl_cffi look like browsers, pyreqwest hands its work to threads, which are
pinned to the one core here. None of them is held back on purpose: each has a pool for the whole
flight, ready bytes to send, and its answers decoded by msgspec, but for the two that go with
pydantic, and the tutorial's `.json()`. Loopback has no latency and loses nothing, so that the real
share of a client in what a query costs is smaller. The trap of glibc's malloc (see `_machine`) is
closed for all alike; the tutorial has a second row where it is open, as it is where nobody knows
of it. The server is in C where a compiler is there, and says what it is; over TLS it is in Python,
so that queries a second tell of it, too.

`--callgrind` counts instructions of user space instead (valgrind): no noise, and no kernel.
`--profile CLIENT` tells where one client's time goes, by whose code it is; cProfile makes small
functions look dearer than they are.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._machine import cores, described
from benchmarks._report import Goal, about, figure, goal, report, say, spread, table, write
from benchmarks.speed import profile as _profile
from benchmarks.speed.competitors import COMPETITORS
from benchmarks.speed.rounds import Rounds, Row
from benchmarks.speed.server import serving

OURS = ("retrieve_many", "as_completed")
LIMITS = {
    "bare": 1.15,
    "tutorial": 0.75,
    "tutorial_trapped": 0.75,
    "httpx_aiohttp": 0.30,
    "httpx": 0.10,
}
POLLING_LIMIT = 1.4
PACKAGES: tuple[str, ...] = (
    "aiohttp",
    "msgspec",
    "uvloop",
    "httpx",
    "httpx-aiohttp",
    "pydantic",
    "niquests",
)
PACKAGES += ("pyreqwest", "primp", "aiosonic", "curl-cffi")


def judge(rows: Sequence[Row]) -> Iterator[Goal]:
    """Hold ours against the goals: on asyncio's own loop, without TLS."""
    plain = {row.client: row for row in rows if row.variant == ("asyncio", False)}
    limits = [(ours, other, limit) for ours in OURS for other, limit in LIMITS.items()]
    for ours, other, limit in [*limits, ("polling", "bare", POLLING_LIMIT)]:
        if ours in plain and other in plain:
            what = f"{ours}: x {COMPETITORS[other].what}"
            yield goal(what, plain[ours].ratio(plain[other]), limit)


def tell(rows: Sequence[Row], unit: str) -> Iterator[str]:
    """Lay out each variant: the cost a query, its ratio to tuned aiohttp's, and the noise."""
    for variant in dict.fromkeys(row.variant for row in rows):
        mine = [row for row in rows if row.variant == variant]
        bare = next((row for row in mine if row.client == "bare"), None)
        loop, tls = variant
        yield f"\n{loop}, {'TLS' if tls else 'plain'}"
        head = ["client", unit, "x tuned", "queries/s", "spread"]
        yield from table(head, (_cells(row, bare) for row in mine))


def _cells(row: Row, bare: Row | None) -> list[str]:
    return [
        COMPETITORS[row.client].what,
        f"{row.cost:.1f}",
        "" if bare is None else f"{row.ratio(bare):.2f}",
        f"{statistics.median(row.rates):,.0f}" if row.rates else "",
        f"{spread(row.costs):.0%}",
    ]


def plot(rows: Sequence[Row], unit: str, path: Path) -> None:
    """Draw the cost a query, a bar a client and variant."""
    drawing = figure(width=10, height=1.5 + 0.3 * len(rows))
    axes = drawing.subplots()
    names = [_name(row) for row in rows]
    colours = ["C1" if "ours" in name else "C0" for name in names]
    axes.barh(names, [row.cost for row in rows], color=colours)
    axes.set(xscale="log", xlabel=f"{unit} a query: less is better")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", which="both", alpha=0.2)
    drawing.savefig(path, dpi=110)


def _name(row: Row) -> str:
    loop, tls = row.variant
    return f"{COMPETITORS[row.client].what} · {loop}{', TLS' if tls else ''}"


def measure(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure all clients in all variants; give the rows, and a word on each that was skipped."""
    rounds = Rounds(arguments.queries, arguments.pending, cores()[0], arguments.callgrind)
    loops = {"no": ["asyncio"], "yes": ["uvloop"], "both": ["asyncio", "uvloop"]}
    ways = {"no": [False], "yes": [True], "both": [False, True]}
    for tls in ways[arguments.tls]:
        with tempfile.TemporaryDirectory() as directory:
            _measure(rounds, arguments, loops[arguments.uvloop], Path(directory), tls=tls)
    return rounds.rows(), [f"skipped: {name}, {why}" for name, why in rounds.skipped.items()]


def profile(arguments: argparse.Namespace) -> Iterator[str]:
    """Profile one client, on asyncio's own loop, without TLS."""
    with (
        tempfile.TemporaryDirectory() as name,
        serving(Path(name), tls=False, core=cores()[1]) as server,
    ):
        rounds = Rounds(arguments.queries, arguments.pending, cores()[0], callgrind=False)
        task = rounds.task(arguments.profile, "asyncio", server)
        yield from _profile.tell(_profile.profiled(task, Path(name)))


def _measure(
    rounds: Rounds, arguments: argparse.Namespace, loops: list[str], directory: Path, *, tls: bool
) -> None:
    with serving(directory, tls=tls, core=cores()[1]) as server:
        say([f"server: {server.what}{', TLS' if tls else ''}"])
        rounds.run(arguments.only or COMPETITORS, loops, server, rounds=arguments.rounds)


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    choices: dict[str, Any] = {"choices": ("no", "yes", "both"), "nargs": "?"}
    choices |= {"const": "yes", "default": "no"}
    parser.add_argument("--uvloop", **choices, help="run on uvloop, or on both loops")
    parser.add_argument("--tls", **choices, help="over TLS, or with and without")
    parser.add_argument("--quick", action="store_true", help="7 rounds of 1,000 queries")
    parser.add_argument("--rounds", type=int, help="default 21")
    parser.add_argument("--queries", type=int, help="a turn, default 4,000; the dear do fewer")
    parser.add_argument("--pending", type=int, default=20_000, help="ids of the polling one")
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, help="these clients alone")
    parser.add_argument("--callgrind", action="store_true", help="count instructions (valgrind)")
    parser.add_argument("--profile", choices=COMPETITORS, help="profile this client, nothing else")
    parser.add_argument("--output", type=Path, default=Path("build"), help="a directory")
    arguments = parser.parse_args(given)
    quick = arguments.quick or arguments.callgrind
    arguments.rounds = arguments.rounds or (1 if arguments.callgrind else 7 if quick else 21)
    arguments.queries = arguments.queries or (1_000 if quick else 4_000)
    return arguments


def main(given: Sequence[str] | None = None) -> None:
    """Measure, print, and write."""
    arguments = _arguments(given)
    machine = described(*PACKAGES)
    say(about(machine))
    if arguments.profile is not None:
        say(profile(arguments))
        return
    rows, skipped = measure(arguments)
    unit = "1,000 instr." if arguments.callgrind else "us CPU"
    goals = list(judge(rows))
    title = "Goals (medians of the rounds' ratios)"
    say((*tell(rows, unit), *skipped, *report(goals, title)))
    document = {"machine": machine, "unit": unit, "goals": goals, "rows": rows}
    write(
        arguments.output,
        "throughput",
        document,
        lambda path: plot(rows, unit, path),
    )


if __name__ == "__main__":
    main()

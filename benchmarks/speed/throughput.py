"""What a query costs, for this client and for others: `python -m benchmarks.throughput`.

Each client asks a server on loopback for the same answers of 3.8 KB, in a process of its own on the
client's core, in turn with all others, many rounds. Each turn follows a turn of the tuned aiohttp
loop, and its ratio is to that turn; the table has the medians. The figure to look at is the CPU
time per query, user and system: queries per second are its inverse while the client's core is the
limit, as it should be.

About bias. This is our benchmark. Ours is the client on whose cost we worked, measured with the
answers that it is made for: it is the bare aiohttp loop and the work that it does for its user.
Every other client does more in some way, or has another aim: httpx and niquests speak HTTP/2 and
much else, primp and curl_cffi imitate browsers, pyreqwest works on threads, which share one core
here. No client is held back on purpose: each has a pool with room for all its queries, bodies as
bytes, and answers decoded by msgspec, except the two with pydantic and the tutorial's `.json()`.
Loopback has no latency and no losses, so the client's real share in the cost of a query is smaller.
The threshold of glibc's malloc (see `_machine.raise_mmap_threshold`) is raised for all clients; the
tutorial has a second row with malloc as it is. The server is in C where a compiler is there, and
the output names it. Over TLS it is in Python, so the queries per second are partly its own.

`--callgrind` counts instructions in user space instead (with valgrind): no noise, and no kernel.
`--profile CLIENT` shows where one client's time goes, by the owner of the code; cProfile makes
small functions look more expensive than they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks._machine import cores, described
from benchmarks._report import (
    Goal,
    about,
    argument_parser,
    figure,
    goal,
    report,
    say,
    write,
)
from benchmarks.speed.answers import SHAPES
from benchmarks.speed.competitors import COMPETITORS
from benchmarks.speed.profile import profile_lines, profiled
from benchmarks.speed.rounds import Rounds, Row, cost_table
from benchmarks.speed.server import serving

_MANY, _COMPLETED, _POLLING = "retrieve_many", "as_completed", "polling"
COST_RATIO_LIMITS: dict[tuple[str, bool], dict[tuple[str, str], float]] = {
    ("asyncio", False): {
        (_MANY, "bare"): 0.45,
        (_COMPLETED, "bare"): 0.48,
        (_POLLING, "bare"): 0.60,
        (_MANY, "pyreqwest"): 0.80,
        (_COMPLETED, "pyreqwest"): 0.80,
        (_POLLING, "pyreqwest"): 1.0,
        ("retrieve_many_plain", "bare"): 1.15,
        ("as_completed_plain", "bare"): 1.2,
        (_COMPLETED, "tutorial"): 0.75,
        (_COMPLETED, "httpx_aiohttp"): 0.30,
        (_COMPLETED, "httpx"): 0.10,
    },
    ("asyncio", True): {(_MANY, "bare"): 0.55, (_COMPLETED, "bare"): 0.55},
    ("uvloop", False): {(_MANY, "bare"): 0.50, (_COMPLETED, "bare"): 0.50},
}
"""Our cost per query by that of another client, on a loop, with or without TLS."""
PACKAGES = (
    *("aiohttp", "msgspec", "uvloop", "httpx", "httpx-aiohttp", "pydantic"),
    *("niquests", "pyreqwest", "primp", "aiosonic", "curl-cffi"),
)


def judge(rows: Sequence[Row]) -> Iterator[Goal]:
    """Yield our goals."""
    found = {(row.variant, row.client): row for row in rows}
    for variant, limits in COST_RATIO_LIMITS.items():
        for (ours, other), limit in limits.items():
            mine, theirs = found.get((variant, ours)), found.get((variant, other))
            if mine is not None and theirs is not None:
                what = f"{_where(*variant)}, {ours}: x {COMPETITORS[other].what}"
                yield goal(what, mine.ratio(theirs), limit)


def _where(loop: str, tls: bool) -> str:
    return f"{loop}, {'TLS' if tls else 'plain'}"


def result_lines(rows: Sequence[Row], unit: str) -> Iterator[str]:
    """Yield a table per variant: the cost per query, its ratio to tuned aiohttp's, the spread."""
    for variant in dict.fromkeys(row.variant for row in rows):
        yield f"\n{_where(*variant)}"
        yield from cost_table([row for row in rows if row.variant == variant], unit)


def plot(rows: Sequence[Row], unit: str, path: Path) -> None:
    """Draw the cost per query, with a bar for each client and variant."""
    drawing = figure(width=10, height=1.5 + 0.3 * len(rows))
    axes = drawing.subplots()
    names = [_name(row) for row in rows]
    colours = ["C1" if "ours" in name else "C0" for name in names]
    axes.barh(names, [row.cost for row in rows], color=colours)
    axes.set(xscale="log", xlabel=f"{unit} per query: less is better")
    axes.invert_yaxis()
    axes.grid(visible=True, axis="x", which="both", alpha=0.2)
    drawing.savefig(path, dpi=110)


def _name(row: Row) -> str:
    loop, tls = row.variant
    return f"{COMPETITORS[row.client].what} · {loop}{', TLS' if tls else ''}"


def measure(arguments: argparse.Namespace) -> tuple[list[Row], list[str]]:
    """Measure all clients in all variants; return the rows, and a line per skipped client."""
    rounds = Rounds(arguments.queries, arguments.pending, cores()[0], callgrind=arguments.callgrind)
    loops = {"no": ["asyncio"], "yes": ["uvloop"], "both": ["asyncio", "uvloop"]}
    ways = {"no": [False], "yes": [True], "both": [False, True]}
    for tls in ways[arguments.tls]:
        with serving(
            tls=tls,
            core=cores()[1],
            shape=arguments.answers,
            processes=arguments.server_processes,
        ) as server:
            say([f"server: {server.what}{', TLS' if tls else ''}; answers: {arguments.answers}"])
            clients = arguments.only or COMPETITORS
            rounds.run(clients, loops[arguments.uvloop], server, rounds=arguments.rounds)
    return rounds.rows(), rounds.notes()


def profile(arguments: argparse.Namespace) -> Iterator[str]:
    """Profile one client, on asyncio's own loop, without TLS."""
    with serving(core=cores()[1], shape=arguments.answers) as server:
        rounds = Rounds(arguments.queries, arguments.pending, cores()[0], callgrind=False)
        task = rounds.task(arguments.profile, "asyncio", server)
        yield from profile_lines(profiled(task))


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argument_parser(__doc__, output=True)
    choices: dict[str, Any] = {"choices": ("no", "yes", "both"), "nargs": "?"}
    choices |= {"const": "yes", "default": "no"}
    parser.add_argument("--uvloop", **choices, help="run on uvloop, or on both loops")
    parser.add_argument("--tls", **choices, help="over TLS, or with and without")
    parser.add_argument("--quick", action="store_true", help="7 rounds of 1,000 queries")
    parser.add_argument("--rounds", type=int, help="default 21")
    parser.add_argument(
        "--queries", type=int, help="per turn, default 4,000; expensive clients do fewer"
    )
    parser.add_argument("--pending", type=int, default=20_000, help="ids that `polling` polls")
    parser.add_argument("--answers", choices=SHAPES, default=SHAPES[0], help="see `answers.py`")
    parser.add_argument(
        "--server-processes", type=int, default=1, help="where queries per second matter"
    )
    parser.add_argument("--only", nargs="+", choices=COMPETITORS, help="these clients alone")
    parser.add_argument("--callgrind", action="store_true", help="count instructions (valgrind)")
    parser.add_argument("--profile", choices=COMPETITORS, help="profile this client, nothing else")
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
    say((*result_lines(rows, unit), *skipped, *report(goals, title)))
    document = {"machine": machine, "unit": unit, "goals": goals, "rows": rows}
    write(arguments.output, "throughput", document, lambda path: plot(rows, unit, path))


if __name__ == "__main__":
    main()

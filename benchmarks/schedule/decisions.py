"""The instructions of a decision: `python -m benchmarks.decisions`.

The decisions of a simulated run are recorded and repeated under Valgrind's callgrind, twice and
five times; the difference is theirs alone. It depends on the Python version, not on the machine.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys

from benchmarks._report import Goal, argument_parser, goal, report, say
from benchmarks.schedule.goals import record_decisions, repeat_decisions
from benchmarks.schedule.workloads import workload

JOBS = 300
FEW, MANY = 2, 5
BEFORE = {"absent": 46_410, "linear": 92_197}
"""Instructions, on CPython 3.11.7, of the schedule that first followed lines."""
GOALS = {"absent": 0.55, "linear": 0.75}


def instructions(progress: str) -> float:
    """Return the instructions of a decision."""
    (few, decisions), (many, _) = (_counted(progress, rounds) for rounds in (FEW, MANY))
    return (many - few) / (MANY - FEW) / decisions


def _counted(progress: str, rounds: int) -> tuple[int, int]:
    """Return the instructions of a process, and the decisions that it repeats."""
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable]
    command += ["-m", "benchmarks.decisions", "--repeat", progress, str(rounds)]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603
    collected = re.search(r"Collected : (\d+)", done.stderr)
    assert collected is not None, done.stderr
    return int(collected[1]), int(done.stdout)


def main() -> None:
    """Count, and print each figure by what it was."""
    parser = argument_parser(__doc__)
    parser.add_argument("--repeat", nargs=2, help="repeat the decisions of a kind of progress")
    task = parser.parse_args().repeat
    if task is not None:
        progress, rounds = task
        recorder = record_decisions(workload("D", 1, JOBS), progress)
        for _ in range(int(rounds)):
            repeat_decisions(recorder)
        print(len(recorder.calls))
        return
    goals: list[Goal] = []
    for progress, most in GOALS.items():
        count = instructions(progress)
        what = f"progress {progress}: {count:,.0f} instructions, x {BEFORE[progress]:,}"
        goals.append(goal(what, count / BEFORE[progress], most))
    say(report(goals, "A decision (CPython 3.11; other versions differ)"))


if __name__ == "__main__":
    main()

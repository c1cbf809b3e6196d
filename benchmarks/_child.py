"""A process for each measurement, so that none finds what another has left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar

import msgspec

from benchmarks._machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

T = TypeVar("T")


class ChildError(Exception):
    """A process did not give what it was asked for; the last it said of an error."""


def run(
    module: str, task: msgspec.Struct, kind: type[T], *, under: Sequence[str] = ()
) -> tuple[T, bytes]:
    """Run a module on a task, under another command if need be; give what it printed on both."""
    done = subprocess.run(  # noqa: S603 - ours
        [*under, *_command(module, task)],
        check=False,
        capture_output=True,
        env=_environment(),
        cwd=ROOT,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ChildError(next((line for line in reversed(lines) if "Error" in line), "it failed"))
    return msgspec.json.decode(done.stdout, type=kind), done.stderr


@contextmanager
def started(module: str, tasks: Iterable[msgspec.Struct]) -> Iterator[list[subprocess.Popen[str]]]:
    """Start a process for each task, to talk to line by line; they are ended with the block."""
    with ExitStack() as stack:
        children = []
        for task in tasks:
            child = subprocess.Popen(  # noqa: S603 - ours
                _command(module, task),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_environment(),
                cwd=ROOT,
                text=True,
            )
            children.append(stack.enter_context(child))
            stack.callback(child.kill)
        yield children


def _command(module: str, task: msgspec.Struct) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.{module}", msgspec.json.encode(task).decode()]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": "0"}

"""Processes for measurements: each measurement has a new one, with nothing left by another.

A child reads its task from the command line, as JSON. It writes lines of JSON, and waits where its
task says so for a line of its input.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, TypeVar

import msgspec

from benchmarks._machine import ROOT

T = TypeVar("T")
_EXCEPTION = re.compile(r"^[\s|]*([\w.]+: .+)$", re.MULTILINE)
"""The line of a traceback that names the exception, also within a group."""


class ChildError(Exception):
    """A process has ended early; the message is the exception that it ended with."""


class Child:
    """The parent's end of a process."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def go_on(self) -> None:
        """Write the line for which the process waits."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._error() from error

    def receive(self, kind: type[T]) -> T:
        """Wait for the process's next line, and return it decoded."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._error()
        return msgspec.json.decode(line, type=kind)

    def finish(self) -> bytes:
        """End the process's input, wait for its end, and return what it wrote to stderr."""
        self._process.communicate()
        self._errors.seek(0)
        return self._errors.read()

    def _error(self) -> ChildError:
        raised = _EXCEPTION.findall(self.finish().decode(errors="replace"))
        return ChildError(raised[-1] if raised else "the process ended without an exception")


@contextmanager
def started(module: str, task: msgspec.Struct, *, under: Sequence[str] = ()) -> Iterator[Child]:
    """Start a module of this folder on a task, and kill its process at the end of the block.

    `under` is a command that runs the process, as `valgrind` does.
    """
    arguments = ["-m", f"benchmarks.speed.{module}", msgspec.json.encode(task).decode()]
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - ours
            [*under, sys.executable, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=os.environ | {"PYTHONHASHSEED": "0"},
            cwd=ROOT,
        ) as process,
    ):
        try:
            yield Child(process, errors)
        finally:
            process.kill()


def read_task(kind: type[T]) -> T:
    """Return this child's task."""
    return msgspec.json.decode(sys.argv[1], type=kind)


def write_line(result: msgspec.Struct) -> None:
    """Send a result to the parent."""
    print(msgspec.json.encode(result).decode(), flush=True)

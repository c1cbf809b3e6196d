"""A process for each measurement, so that none finds what another has left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, TypeVar

import msgspec

from benchmarks._machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

T = TypeVar("T")


class ChildError(Exception):
    """A process did not give what it was asked for; the last it said of an error."""


class Child:
    """A process to talk to line by line."""

    def __init__(self, process: subprocess.Popen[bytes], errors: IO[bytes]) -> None:
        self._process = process
        self._errors = errors

    def say(self) -> None:
        """Tell it to go on."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise self._error() from error

    def hear(self, kind: type[T]) -> T:
        """Wait for what it has to tell next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._error()
        return msgspec.json.decode(line, type=kind)

    def _error(self) -> ChildError:
        self._process.wait()
        self._errors.seek(0)
        return ChildError(_last_error(self._errors.read()))


@contextmanager
def opened(module: str, task: msgspec.Struct) -> Iterator[Child]:
    """Start a process that works on a task; it is ended with the block."""
    with (
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(  # noqa: S603 - ours
            _command(module, task),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            cwd=ROOT,
        ) as process,
    ):
        try:
            yield Child(process, errors)
        finally:
            process.kill()


def run(
    module: str,
    task: msgspec.Struct,
    kind: type[T],
    *,
    under: Sequence[str] = (),
    said: bytes = b"",
) -> tuple[T, bytes]:
    """Run a module on a task, under another command if need be; give its last line, and errors."""
    done = subprocess.run(  # noqa: S603 - ours
        [*under, *_command(module, task)],
        check=False,
        capture_output=True,
        input=said,
        env=_environment(),
        cwd=ROOT,
    )
    if done.returncode:
        raise ChildError(_last_error(done.stderr))
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=kind), done.stderr


def _last_error(told: bytes) -> str:
    lines = told.decode(errors="replace").strip().splitlines()
    return next((line for line in reversed(lines) if "Error" in line), "it failed")


def _command(module: str, task: msgspec.Struct) -> list[str]:
    return [sys.executable, "-m", f"benchmarks.speed.{module}", msgspec.json.encode(task).decode()]


def _environment() -> dict[str, str]:
    return os.environ | {"PYTHONHASHSEED": "0"}

"""A process for each measurement, so that none finds what another has left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, TypeVar

import msgspec

from benchmarks._machine import ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")


class ChildError(Exception):
    """A process did not give what it was asked for; the last it said of an error."""


def run(
    module: str, task: msgspec.Struct, kind: type[T], *, under: Sequence[str] = ()
) -> tuple[T, bytes]:
    """Run a module on a task, under another command if need be; give what it printed on both."""
    told = msgspec.json.encode(task).decode()
    done = subprocess.run(  # noqa: S603 - ours
        [*under, sys.executable, "-m", f"benchmarks.{module}", told],
        check=False,
        capture_output=True,
        env=os.environ | {"PYTHONHASHSEED": "0"},
        cwd=ROOT,
    )
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        raise ChildError(next((line for line in reversed(lines) if "Error" in line), "it failed"))
    return msgspec.json.decode(done.stdout, type=kind), done.stderr

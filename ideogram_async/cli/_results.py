"""Where finished requests are written: standard output, or a file that a later call appends to.

A line is written whole, the moment its request is known; what the system has taken outlives a
killed process. A last line that a kill or a full disk has torn is cut off when the file is opened.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeAlias

import msgspec

from ideogram_async import SamplingRequest
from ideogram_async.cli._console import json_line
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._streams import write_all

if sys.platform != "win32":
    import fcntl

_START = b'{"request_id":"'
"""The start of each line. A file with other lines is the user's own, and is not changed."""


@contextmanager
def results_to(path: Path | None) -> Iterator[Results]:
    """Open a file of results, and repair it; None stands for standard output."""
    if path is None:
        if sys.stdout is None:  # its number may be a socket's by now
            raise CommandError("standard output is closed", Code.USAGE)
        yield Stream(sys.stdout.fileno())
        return
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError as error:
        raise _unusable(path, error.strerror) from None
    try:
        yield _File(fd, path)
    finally:
        os.close(fd)


class Stream:
    """A descriptor that is written to and never read: standard output."""

    name = "standard output"
    """What messages call it."""
    resumable = False
    """Whether a later call goes on from it."""
    known: AbstractSet[str] = frozenset()
    """The ids of the requests that it held when it was opened."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.on_terminal: bool = os.isatty(fd)

    async def add(self, request: SamplingRequest) -> None:
        """Write a line; raise `OSError` where that is not possible."""
        await write_all(self._fd, json_line(request))

    def records(self) -> Iterator[SamplingRequest]:
        """Iterate over the requests that it held when it was opened."""
        return iter(())


class _Line(msgspec.Struct):
    request_id: str


_decoder = msgspec.json.Decoder(_Line)


class _File:
    """A file, held by this process alone, with what a `Stream` has."""

    on_terminal = False
    resumable = True

    def __init__(self, fd: int, path: Path) -> None:
        self.name = str(path)
        self._fd = fd
        self._path = path
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise _unusable(path, "is no regular file")
        self._lock()
        self.known: set[str] = set()
        self._lines_held = self._end = 0
        self._read()
        if os.fstat(fd).st_size > self._end:
            os.ftruncate(fd, self._end)

    async def add(self, request: SamplingRequest) -> None:
        rest = memoryview(json_line(request))
        end = self._end + len(rest)
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._fd, self._end)
            raise
        self._end = end

    def records(self) -> Iterator[SamplingRequest]:
        decoder = msgspec.json.Decoder(SamplingRequest)
        with self._path.open("rb") as file:
            for line in islice(file, self._lines_held):
                if line.strip():
                    yield decoder.decode(line)

    def _lock(self) -> None:
        if sys.platform == "win32":
            return
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise _unusable(self._path, "is being written by another process") from None
        except OSError:
            return  # a file system without locks

    def _read(self) -> None:
        """Find the ids in it, and where its last whole line ends."""
        with self._path.open("rb") as file:
            for number, line in enumerate(file, 1):
                whole = line.endswith(b"\n")
                request_id = _id_in(line) if whole else None
                if request_id:
                    self.known.add(request_id)
                elif line.strip() if whole else not _is_torn(line):
                    raise _unusable(self._path, f"line {number} is no finished request")
                if whole:
                    self._lines_held, self._end = number, self._end + len(line)


Results: TypeAlias = Stream | _File


def _id_in(line: bytes) -> str | None:
    """Return the id of a line's request, or None."""
    try:
        return _decoder.decode(line).request_id
    except (ValueError, RecursionError):
        return None


def _is_torn(line: bytes) -> bool:
    """Return whether it is the beginning of a line that this command wrote."""
    return line.startswith(_START) or _START.startswith(line)


def _unusable(path: Path, why: str | None) -> CommandError:
    return CommandError(f"{path}: {why}; it is left as it is", Code.USAGE)

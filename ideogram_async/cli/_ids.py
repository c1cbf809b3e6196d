"""The ids that a command is given: as arguments, in a file, or as they come through a pipe."""

from __future__ import annotations

import codecs
import os
import re
import stat
import sys
from collections.abc import AsyncGenerator, Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import AbstractContextManager, nullcontext
from io import FileIO
from pathlib import Path

from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._streams import read_some

LONGEST_LINE_BYTES = 1 << 16
"""Bytes of a line, at most: a source without line ends would fill the memory."""

_SEPARATOR = re.compile(r"""[\s,;"]""")
_SEPARATOR_NAMES = {",": "a comma", ";": "a semicolon", '"': "a quotation mark"}
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
"""The first bytes of a file that some shells of Windows write."""


def opened(origin: str | None) -> AbstractContextManager[FileIO | None]:
    """Open a file of ids; `-` is standard input."""
    if origin is None:
        return nullcontext()
    if origin == "-":
        if sys.stdin is None:
            raise CommandError("standard input is closed", Code.USAGE)
        return open(0, "rb", buffering=0, closefd=False)
    try:
        return Path(origin).open("rb", buffering=0)
    except OSError as error:
        raise CommandError(f"{origin}: {error.strerror}", Code.USAGE) from None


def gather(arguments: Iterable[str], file: FileIO | None) -> list[str] | IdStream:
    """Return the ids of the arguments and of a file; those of a pipe as they come."""
    given = [argument.strip() for argument in arguments]
    if file is None:
        for name in given:
            if Path(name).suffix and os.path.isfile(name):  # noqa: PTH113 - it takes any text
                raise CommandError(f"{name} is a file of ids? Give it by --from {name}", Code.USAGE)
    elif stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        given += _whole(file)
    else:
        return IdStream(given, file)
    if not given:
        raise no_ids()
    return given


def without(ids: list[str] | IdStream, known: AbstractSet[str]) -> tuple[list[str] | IdStream, int]:
    """Return the ids that are not known, and how many are; 0 for a pipe, which is read later."""
    if isinstance(ids, IdStream):
        ids.leave_out(known)
        return ids, 0
    return [one for one in ids if one not in known], len(known & {*ids})


def number_of(ids: list[str] | IdStream) -> int | None:
    """Return how many ids there are; None for a pipe."""
    return len(set(ids)) if isinstance(ids, list) else None


def no_ids() -> CommandError:
    """Return the error of a command without ids."""
    return CommandError("no ids: give some as arguments, or by --from FILE", Code.USAGE)


class IdStream:
    """An async source of distinct ids that reads on only when it is asked for the next."""

    def __init__(self, given: Iterable[str], file: FileIO) -> None:
        self._given = given
        self._file = file
        self._seen: set[str] = set()

    def leave_out(self, known: AbstractSet[str]) -> None:
        """Return none of these ids from now on."""
        self._seen |= known

    async def __aiter__(self) -> AsyncGenerator[str, None]:
        """Iterate over the given ids, then over those of the lines; an incomplete line waits."""
        for request_id in self._unseen(self._given):
            yield request_id
        lines, rest = _Lines(self._file), b""
        while chunk := await self._read():
            *whole, rest = (rest + chunk).split(b"\n")
            if len(rest) > LONGEST_LINE_BYTES:
                raise lines.wrong("is too long for an id")
            for request_id in self._unseen(lines.ids(whole)):
                yield request_id
        for request_id in self._unseen(lines.ids([rest])):
            yield request_id

    def _unseen(self, ids: Iterable[str]) -> Iterator[str]:
        for request_id in ids:
            if request_id not in self._seen:
                self._seen.add(request_id)
                yield request_id

    async def _read(self) -> bytes:
        try:
            return await read_some(self._file.fileno())
        except OSError as error:
            raise _unreadable(self._file, error) from None


class _Lines:
    """Decodes the lines of a source, and counts them for error messages."""

    def __init__(self, file: FileIO) -> None:
        self._name = _name(file)
        self._count = 0

    def ids(self, lines: list[bytes]) -> list[str]:
        """Return the ids of the next lines; a blank line has none."""
        return [request_id for line in lines if (request_id := self._id(line))]

    def _id(self, line: bytes) -> str:
        if not self._count:
            line = line.removeprefix(codecs.BOM_UTF8)
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise self.wrong("is not UTF-8") from None
        if text.startswith("#"):
            raise self.wrong("is a comment: expected one id per line")
        between = _SEPARATOR.search(text)
        if between:
            name = _SEPARATOR_NAMES.get(between[0], "a blank")
            raise self.wrong(f"holds {name}: expected one id per line")
        self._count += 1
        return text

    def wrong(self, what: str) -> CommandError:
        """Return the error for the next line."""
        return CommandError(f"{self._name}: line {self._count + 1} {what}", Code.USAGE)


def _whole(file: FileIO) -> list[str]:
    lines = _Lines(file)
    try:
        content = file.read()
    except OSError as error:
        raise _unreadable(file, error) from None
    if content.startswith(_UTF16_MARKS):
        content = content.decode("utf-16", errors="replace").encode()
    return lines.ids(content.split(b"\n"))


def _unreadable(file: FileIO, error: OSError) -> CommandError:
    return CommandError(f"{_name(file)}: {error.strerror}", Code.USAGE)


def _name(file: FileIO) -> str:
    return "standard input" if file.name == 0 else str(file.name)

"""A directory that images are saved in: whole files alone, nothing overwritten, no link followed.

Made for worker threads: everything here may block, and a part is safe against being discarded by
one thread while another still writes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ideogram_async._downloads.images import SUFFIXES

if sys.platform != "win32":
    import fcntl

_PART = re.compile(r"\.ideogram-[0-9a-f]{16}\.part")
_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


class ImageDirectory:
    """A directory, made where it is missing."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self) -> None:
        """Make it, and remove the parts that killed processes have left."""
        self.path.mkdir(parents=True, exist_ok=True)
        if sys.platform != "win32":  # where no lock tells which they are
            for part in self._parts():
                with suppress(OSError):  # somebody writes it, or has just removed it
                    _remove_abandoned(part)

    def find(self, stem: str) -> Path | None:
        """Give the file that an image was saved as before, if it was."""
        for suffix in SUFFIXES.values():
            path = self.path / f"{stem}{suffix}"
            if _is_file(path):
                return path
        return None

    def part(self) -> PartialFile:
        """Begin a file."""
        return PartialFile(self.path)

    def _parts(self) -> Iterator[Path]:
        return (path for path in self.path.iterdir() if _PART.fullmatch(path.name))


class PartialFile:
    """A file that is not whole yet, under a name of its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mutex = threading.Lock()
        self._fd = -1
        self._path: Path | None = None
        self._over = False

    def write(self, data: bytes | bytearray) -> None:
        """Add bytes; the first make the file."""
        with self._mutex:
            self._check_goes_on()
            if self._path is None:
                self._fd, self._path = _begin(self._directory)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def publish(self, name: str) -> Path:
        """Give the whole file its name; one that stands there already is kept in its place."""
        with self._mutex:
            self._check_goes_on()
            if self._path is None:
                raise OSError(errno.ENODATA, "the image is empty")
            os.fsync(self._fd)
            path = self._directory / name
            try:
                os.link(self._path, path, follow_symlinks=False)
            except FileExistsError:
                if not _is_file(path):
                    raise
            _sync_directory(self._directory)
            return path

    def discard(self) -> None:
        """Remove the name of its own; without a published one the file is gone."""
        with self._mutex:
            self._over = True
            if self._path is not None:
                path, self._path = self._path, None
                os.close(self._fd)
                with suppress(FileNotFoundError):
                    path.unlink()

    def _check_goes_on(self) -> None:
        if self._over:
            raise OSError(errno.ECANCELED, "the download was cancelled")


def _is_file(path: Path) -> bool:
    """Tell whether a file stands there; raise where it is a link, a directory or the like."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, f"{path.name} is there, and is no regular file")
    return True


def _begin(directory: Path) -> tuple[int, Path]:
    """Make a new file and lock it: where the lock is free, its process is dead."""
    while True:
        path = directory / f".ideogram-{secrets.token_hex(8)}.part"
        fd = os.open(path, _FLAGS, 0o666)
        if _held(fd, path):
            return fd, path
        os.close(fd)


def _held(fd: int, path: Path) -> bool:
    """Lock a new file; False where somebody took it for an abandoned one before that."""
    with suppress(OSError):  # a file system without locks
        _lock(fd)
    try:
        return path.lstat().st_ino == os.fstat(fd).st_ino
    except FileNotFoundError:
        return False


def _remove_abandoned(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        _lock(fd)
        path.unlink()
    finally:
        os.close(fd)


def _lock(fd: int) -> None:
    """Lock a file until it is closed, or its process is gone."""
    if sys.platform != "win32":
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_directory(path: Path) -> None:
    """Make a new name outlast a power cut, where the system has a way to."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

"""A directory for images. Files appear complete; none is overwritten; no link is followed.

For worker threads: every function can block. One thread may discard a partial file while another
one writes it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import sys
import threading
from contextlib import suppress
from pathlib import Path

from ideogram_async._downloads.images import SUFFIXES

if sys.platform != "win32":
    import fcntl

_PARTIAL_NAME = re.compile(r"\.ideogram-[0-9a-f]{16}\.part")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


def open_directory(directory: Path) -> None:
    """Create the directory if it is missing; remove the partial files of killed processes."""
    directory.mkdir(parents=True, exist_ok=True)
    if sys.platform != "win32":  # without locks, a file in use would look abandoned
        for path in directory.iterdir():
            if _PARTIAL_NAME.fullmatch(path.name):
                with suppress(OSError):  # another process writes it, or has just removed it
                    _remove_abandoned(path)


def find_image(directory: Path, stem: str) -> Path | None:
    """Return the path of an image's file, or None if there is none."""
    paths = (directory / f"{stem}{suffix}" for suffix in SUFFIXES.values())
    return next(filter(_is_file, paths), None)


class PartialFile:
    """A file that is not complete, under a random name. Its first bytes create it on the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._mutex = threading.Lock()
        self._fd = -1
        self._path: Path | None = None
        self._discarded = False

    def write(self, data: bytes | bytearray) -> None:
        """Append bytes. The first ones create the file."""
        with self._mutex:
            self._check_not_discarded()
            if self._path is None:
                self._fd, self._path = _create(self._directory)
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(self._fd, rest) :]

    def publish(self, name: str) -> Path:
        """Add the final name to the file, and return its path. A file of that name is kept."""
        with self._mutex:
            self._check_not_discarded()
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
        """Remove the random name. A file that was not published is gone."""
        with self._mutex:
            self._discarded = True
            if self._path is not None:
                path, self._path = self._path, None
                os.close(self._fd)
                with suppress(FileNotFoundError):
                    path.unlink()

    def _check_not_discarded(self) -> None:
        if self._discarded:
            raise OSError(errno.ECANCELED, "the download was cancelled")


def _is_file(path: Path) -> bool:
    """Return whether the path is a regular file; raise if it is a link, a directory or other."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return False
    if not stat.S_ISREG(mode):
        raise FileExistsError(errno.EEXIST, f"{path.name} exists, and is no regular file")
    return True


def _create(directory: Path) -> tuple[int, Path]:
    """Create a file and lock it. The lock is free again when this process has ended."""
    while True:
        path = directory / f".ideogram-{secrets.token_hex(8)}.part"
        fd = os.open(path, _NEW_FILE, 0o666)
        if _is_ours(fd, path):
            return fd, path
        os.close(fd)


def _is_ours(fd: int, path: Path) -> bool:
    """Lock a new file. Return False if another process removed it before it was locked."""
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
    """Lock a file until it is closed, or its process has ended."""
    if sys.platform != "win32":
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _sync_directory(path: Path) -> None:
    """Write a new name to the disk, so that it outlasts a power cut, if the system can."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

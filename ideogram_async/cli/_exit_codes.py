"""How a command ends: its exit code, and at most one line that says why."""

from __future__ import annotations

import enum
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import typer
from typer.core import TyperGroup

from ideogram_async import IdeogramError
from ideogram_async.cli._console import complain


class Code(enum.IntEnum):
    """The exit codes of commands."""

    FAILED = 1
    """Some requests failed; the others were delivered."""
    USAGE = 2
    ENDED = 3
    """Something ended the run as a whole."""
    INTERRUPTED = 130
    """As shells report SIGINT: 128 + 2."""
    READER_GONE = 141
    """As shells report SIGPIPE: 128 + 13."""


class CommandError(Exception):
    """An error that ends a command, in words for its user."""

    def __init__(self, message: str, code: Code) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def exit_codes() -> Iterator[None]:
    """Turn what ends a command into its exit code, without a traceback."""
    try:
        yield
    except CommandError as error:
        complain(str(error))
        code = error.code
    except KeyboardInterrupt:
        code = Code.INTERRUPTED
    except BrokenPipeError:
        code = Code.READER_GONE
    except (IdeogramError, OSError) as error:
        complain(str(error))
        code = Code.ENDED
    else:
        return
    raise typer.Exit(code)


class CommandGroup(TyperGroup):
    """Commands that end with these exit codes, `--help` and `--version` too.

    Typer itself ends with 1 where the reader of the output is gone.
    """

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        """Read the arguments."""
        with exit_codes():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        """Run a command."""
        with exit_codes():
            return super().invoke(ctx)


@contextmanager
def flushed_streams() -> Iterator[None]:
    """Flush both streams at the end of the process, and drop what nobody takes.

    Python's own flush at exit would end with 120 and "Exception ignored".
    """
    code: Any = 0
    try:
        yield
    except SystemExit as ended:
        code = ended.code
    error = _flush(sys.stdout)
    if error is not None and code in {None, 0, Code.FAILED}:
        code = Code.READER_GONE if isinstance(error, BrokenPipeError) else Code.ENDED
    _flush(sys.stderr)
    sys.exit(code)


def _flush(stream: TextIO | None) -> OSError | None:
    """Flush a stream; return why it does not take the text, and drop the text then."""
    if stream is None:  # closed by whoever started the process
        return None
    try:
        stream.flush()
    except OSError as error:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)
        return error
    return None


_NAMES = {
    "access_token": "IDEOGRAM_ACCESS_TOKEN",
    "deadline": "--deadline",
    "max_in_flight": "--max-in-flight",
    "max_rate": "--max-rate",
    "timeout": "--timeout",
    "token": "IDEOGRAM_TOKEN",
}
"""The option or variable for each setting."""


@contextmanager
def usage_errors() -> Iterator[None]:
    """Turn the error of a setting into one line and the exit code of wrong usage."""
    try:
        yield
    except ValueError as error:
        name, blank, words = str(error).partition(" ")
        words = words.replace("allow_http=True", "--allow-http").removesuffix(", or None")
        raise CommandError(_NAMES.get(name, name) + blank + words, Code.USAGE) from None

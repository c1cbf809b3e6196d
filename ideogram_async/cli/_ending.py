"""How a command ends: its exit code, and at most one line that says why."""

from __future__ import annotations

import enum
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from ideogram_async import IdeogramError
from ideogram_async.cli._terminal import complain

if TYPE_CHECKING:
    from collections.abc import Iterator


class Code(enum.IntEnum):
    """What a command's exit code says."""

    FAILED = 1
    """Some requests failed; the others were delivered."""
    USAGE = 2
    ENDED = 3
    """Something ended the run as a whole."""
    INTERRUPTED = 130
    """As shells tell of SIGINT: 128 + 2."""
    READER_GONE = 141
    """As shells tell of SIGPIPE: 128 + 13."""


class CommandError(Exception):
    """What ends a command, in words for its user."""

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
    except IdeogramError as error:
        complain(str(error))
        code = Code.ENDED
    except KeyboardInterrupt:
        code = Code.INTERRUPTED
    except BrokenPipeError:
        code = Code.READER_GONE
    except OSError as error:
        complain(str(error))
        code = Code.ENDED
    else:
        return
    raise typer.Exit(code)


@contextmanager
def usage_errors() -> Iterator[None]:
    """Tell the user of a setting that the library refuses."""
    try:
        yield
    except ValueError as error:
        message = str(error).replace("allow_http=True", "--allow-http")
        raise CommandError(message, Code.USAGE) from None

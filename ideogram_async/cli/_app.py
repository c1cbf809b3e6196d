"""The application: its commands, and what is set up before any of them."""

# No `from __future__ import annotations` here and in the commands: typer reads annotations.

import io
import os
import sys
from typing import Annotated

import typer

from ideogram_async import __version__
from ideogram_async.cli._check import check
from ideogram_async.cli._demo import demo
from ideogram_async.cli._exit_codes import CommandGroup, flushed_streams
from ideogram_async.cli._log import log_to_stderr
from ideogram_async.cli._serve import serve
from ideogram_async.cli._signals import show_cursor_at_the_end
from ideogram_async.cli._watch import watch

app: typer.Typer = typer.Typer(
    cls=CommandGroup,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,  # they can show locals, and so a key
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, watch, check, serve):
    app.command()(command)


def main() -> None:
    """Set the process up, and run the command that it was called with."""
    # Freed once, a large block raises glibc's mmap threshold for good. Before that, each of
    # asyncio's 256 KiB receive buffers is mapped and unmapped: 22 % of a query's cost on 3.11.
    bytearray(1 << 20)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: no encoding ends a run
    show_cursor_at_the_end()
    with flushed_streams():
        app(prog_name="ideogram-async")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _prepare(
    version: Annotated[  # noqa: ARG001 - its callback acts
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Poll many image requests at once, and get each as it completes.

    Examples, without a gateway:

    \b
    ideogram-async demo
    ideogram-async serve > ids.txt

    Then, in another terminal:

    \b
    export IDEOGRAM_BASE_URL=http://127.0.0.1:8000
    ideogram-async watch --from ids.txt --output finished.jsonl --download images
    ideogram-async check --from ids.txt

    IDEOGRAM_LOG=debug (or info, warning, error) in the environment logs to standard error.
    """  # noqa: D301 - typer keeps the lines of what follows that sign
    log_to_stderr(os.environ)

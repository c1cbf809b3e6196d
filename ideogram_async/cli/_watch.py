"""`ideogram-async watch`: ids in, one line of JSON out for each as it completes."""

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ideogram_async import (
    AuthenticationError,
    IdeogramClient,
    IdeogramError,
    RequestError,
    Run,
    SamplingRequest,
)
from ideogram_async.cli._ending import Code, CommandError, exit_codes, usage_errors
from ideogram_async.cli._ids import IdStream, gather, no_ids, opened
from ideogram_async.cli._meter import Meter
from ideogram_async.cli._options import AllowHTTP, BaseURL, MaxInFlight, MaxRate
from ideogram_async.cli._streams import write_all
from ideogram_async.cli._terminal import Screen, complain, json_line, printable

EVERY = 10.0
"""Seconds between two lines on progress, where there is no terminal for a bar."""

Results = Run[SamplingRequest | RequestError]


def watch(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IDS",
            help="Request ids; put -- before them where one starts with a dash.",
            show_default=False,
        ),
    ] = None,
    *,
    origin: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A file with one id a line; - reads standard input as it comes.",
            show_default=False,
        ),
    ] = None,
    base_url: BaseURL = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds until all ends.", show_default=False)
    ] = None,
    deadline: Annotated[
        float, typer.Option(help="Seconds that each request may take; 0 for no limit.")
    ] = 900.0,
    max_in_flight: MaxInFlight = 20,
    max_rate: MaxRate = None,
    allow_http: AllowHTTP = False,
) -> None:
    """Poll requests until all are complete.

    Each finished request is one line of JSON on standard output; progress and failures go to
    standard error.

    The key comes from the environment alone, as IDEOGRAM_TOKEN (Authorization: Bearer) or
    IDEOGRAM_ACCESS_TOKEN (Access-Token): on a command line every process could see it.

    Exit code: 0 all complete, 1 some failed, 2 wrong usage, 3 the run was ended (keys refused,
    wrong address, timeout, output full), 130 interrupted, 141 standard output was closed.
    """
    with exit_codes(), opened(origin) as file:
        source = gather(ids or (), file)
        with usage_errors():
            client = IdeogramClient(
                base_url,
                deadline=None if deadline == 0 else deadline,
                max_in_flight=max_in_flight,
                max_rate=max_rate,
                allow_http=allow_http,
            )
        asyncio.run(_watch(client, source, timeout, _output()))


def _output() -> int:
    if sys.stdout is None:  # its number may be a socket's by now
        raise CommandError("standard output is closed", Code.USAGE)
    return sys.stdout.fileno()


async def _watch(
    client: IdeogramClient, ids: list[str] | IdStream, timeout: float | None, output: int
) -> None:
    async with client:
        with usage_errors():
            run = client.as_completed(ids, timeout=timeout, return_exceptions=True)
        async with run:
            with _explained(run), Meter(Screen(stderr=True), client, run, every=EVERY) as meter:
                await _deliver(run, meter, output)
            _conclude(run, meter)


def _conclude(run: Results, meter: Meter) -> None:
    if not run.statistics().taken:
        raise no_ids()
    meter.screen.say(meter.describe())
    if run.failures:
        raise typer.Exit(Code.FAILED)


@contextmanager
def _explained(run: Results) -> Iterator[None]:
    """Say what ended the run early, and what it left."""
    try:
        yield
    except asyncio.CancelledError:
        complain(f"interrupted, {_left(run)}")
        raise
    except AuthenticationError as error:
        raise CommandError(f"{error.args[0]}; {_left(run)}", Code.ENDED) from None
    except IdeogramError as error:
        raise CommandError(f"{error}; {_left(run)}", Code.ENDED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"standard output: {error.strerror}; {_left(run)}"
        raise CommandError(message, Code.ENDED) from None


async def _deliver(run: Results, meter: Meter, output: int) -> None:
    terminal = os.isatty(output)
    async for result in run:
        if isinstance(result, RequestError):
            meter.screen.say(("failed: ", "red"), printable(_reason(result)))
        else:
            if terminal:
                meter.hide()
            await write_all(output, json_line(result))


def _reason(error: RequestError) -> str:
    """Say why an id failed; a deadline's cause is what went wrong last."""
    return f"{error}; last: {error.__cause__}" if error.__cause__ else str(error)


def _left(run: Results) -> str:
    """Say what is open, and how to go on."""
    pending = len(run.pending)
    if not pending:
        return "0 pending"
    return f"{pending} pending; to go on, give the ids again (a complete one costs one query)"

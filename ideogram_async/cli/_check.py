"""`ideogram-async check`: one query per id, and the states as a table, or as lines of JSON."""

import asyncio
from collections.abc import Iterable
from typing import Annotated

import typer

from ideogram_async import IdeogramClient, RequestError, Run, SamplingRequest, WaitTimeout
from ideogram_async._protocol.sanitize import printable
from ideogram_async.cli._console import Console, shortened
from ideogram_async.cli._exit_codes import Code, CommandError, usage_errors
from ideogram_async.cli._ids import IdStream, gather, no_ids, number_of, opened
from ideogram_async.cli._options import (
    AccessToken,
    AllowHTTP,
    BaseURL,
    MaxInFlight,
    MaxRate,
    Origin,
    RequestIds,
    Token,
)
from ideogram_async.cli._progress_display import ProgressDisplay
from ideogram_async.cli._results import Results, results_to

ID_WIDTH = 22
"""Characters of the first column, where the ids are not known beforehand: those of ids (seen)."""
STATE_WIDTH = 20
"""Characters of the second column: the longest of its words are names of errors."""


def check(
    ids: RequestIds = None,
    *,
    origin: Origin = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each, as the answers come.")
    ] = False,
    base_url: BaseURL = None,
    timeout: Annotated[
        float | None, typer.Option(help="Seconds until all ends.", show_default=False)
    ] = None,
    max_in_flight: MaxInFlight = 20,
    max_rate: MaxRate = None,
    allow_http: AllowHTTP = False,
    token: Token = None,  # noqa: ARG001 - its callback acts
    access_token: AccessToken = None,  # noqa: ARG001 - its callback acts
) -> None:
    """Ask once for the state of each request.

    This is the library's `retrieve_many`. A table goes to standard output, a row for each answer as
    it comes: id, state, model and prompt.

    For example:

    \b
    ideogram-async check --from ids.txt
    ideogram-async check --json --from ids.txt > states.jsonl

    Exit code: 0 all answered, 1 some were not, 2 wrong usage, 3 the run was ended, 130 interrupted,
    141 standard output was closed.
    """  # noqa: D301 - typer keeps the lines of what follows that sign
    with opened(origin) as file, results_to(None) as results:
        source = gather(ids or (), file)
        with usage_errors():
            client = IdeogramClient(
                base_url, max_in_flight=max_in_flight, max_rate=max_rate, allow_http=allow_http
            )
        asyncio.run(run_check(client, source, timeout, results if as_json else None))


async def run_check(
    client: IdeogramClient,
    ids: list[str] | IdStream,
    timeout: float | None,
    results: Results | None,
) -> None:
    """Ask for all ids; give their records to the results, or print a table."""
    async with client:
        with usage_errors():
            run = client.retrieve_many(ids, timeout=timeout, return_exceptions=True)
        console = Console(stderr=True)
        async with run:
            table = _Table(ids if isinstance(ids, list) else ())
            display = ProgressDisplay(
                console,
                client.statistics,
                run,
                base_url=client.base_url,
                done="answered",
                total=number_of(ids),
            )
            try:
                with display:
                    await _take(run, display, results, table)
            except WaitTimeout as error:
                raise _late(run, ids, timeout, error) from None
            if not run.statistics().taken:
                raise no_ids()
            console.say(display.summary())
            if run.statistics().failed:
                raise typer.Exit(Code.FAILED)


async def _take(
    run: Run[SamplingRequest | RequestError],
    display: ProgressDisplay,
    results: Results | None,
    table: "_Table",
) -> None:
    async for result in run:
        on_terminal = table.on_terminal if results is None else results.on_terminal
        if isinstance(result, RequestError):
            display.console.say_failed(str(result))
        if on_terminal:
            display.hide()
        if results is None:
            table.add(result)
        elif isinstance(result, SamplingRequest):
            await results.add(result)


def _late(
    run: Run[SamplingRequest | RequestError],
    ids: list[str] | IdStream,
    timeout: float | None,
    error: WaitTimeout,
) -> CommandError:
    figures = run.statistics()
    asked = len(set(ids)) if isinstance(ids, list) else figures.taken
    fault = error.__cause__
    words = f"; the last fault: {fault.args[0]}" if isinstance(fault, RequestError) else ""
    told = f"{figures.completed:,} of {asked:,} answered within {timeout:g} s{words}"
    return CommandError(told, Code.ENDED)


def state_of(request: SamplingRequest) -> str:
    """Return the state of a request in a word or two."""
    if request.is_errored:
        return "failed"
    if request.is_complete:
        return "complete" if request.responses else "complete, no images"
    if request.completion_percentage is not None:
        return f"{request.completion_percentage:.0f} %"
    return "running" if request.has_started else "queued"


class _Table:
    """Rows of aligned columns, the prompt last: on a terminal it is cut, elsewhere it is whole."""

    def __init__(self, ids: Iterable[str]) -> None:
        self._console = Console()
        self._id_width = max((len(printable(one)) for one in ids), default=ID_WIDTH)
        self.on_terminal: bool = self._console.is_terminal

    def add(self, result: SamplingRequest | RequestError) -> None:
        """Print a row."""
        state, model, prompt = type(result).__name__, "", ""
        if isinstance(result, SamplingRequest):
            state = state_of(result)
            model = shortened(result.model_version or "", 16)
            prompt = shortened(result.user_prompt or "", 200)
        self._console.say_cut(
            (f"{printable(result.request_id or ''):{self._id_width}}", "cyan"),
            f"  {state:{STATE_WIDTH}}  {model:16}  {prompt}".rstrip(),
        )

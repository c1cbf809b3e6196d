"""`ideogram-async check`: one query an id, and the states as a table, or as lines of JSON."""

import asyncio
from typing import Annotated

import typer

from ideogram_async import IdeogramClient, RequestError, Run, SamplingRequest
from ideogram_async._protocol.sanitize import printable
from ideogram_async.cli._console import Console, shortened
from ideogram_async.cli._exit_codes import Code, usage_errors
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
from ideogram_async.cli._progress_display import ProgressDisplay, Shown
from ideogram_async.cli._results import Results, results_to


def check(
    ids: RequestIds = None,
    *,
    origin: Origin = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each, as the answers come.")
    ] = False,
    base_url: BaseURL = None,
    timeout: Annotated[float, typer.Option(help="Seconds until all ends.")] = 30.0,
    max_in_flight: MaxInFlight = 20,
    max_rate: MaxRate = None,
    allow_http: AllowHTTP = False,
    token: Token = None,  # noqa: ARG001 - its callback acts
    access_token: AccessToken = None,  # noqa: ARG001 - its callback acts
) -> None:
    """Ask once for the state of each request.

    This is the library's `retrieve_many`. A table in the order of the ids goes to standard output:
    id, state, model and prompt.

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
    client: IdeogramClient, ids: list[str] | IdStream, timeout: float, results: Results | None
) -> None:
    """Ask for all ids; give their records to the results, or print a table."""
    states: dict[str, tuple[str, SamplingRequest | None]] = {}
    async with client:
        with usage_errors():
            run = client.retrieve_many(ids, timeout=timeout, return_exceptions=True)
        console = Console(stderr=True)
        async with run:
            shown = Shown(client.base_url, done="answered", total=number_of(ids))
            with ProgressDisplay(console, client, run, shown) as display:
                await _take(run, display, results, states)
            if not run.statistics().taken:
                raise no_ids()
            if results is None:
                _print_table(ids if isinstance(ids, list) else list(states), states)
            console.say(display.summary())
            if run.statistics().failed:
                raise typer.Exit(Code.FAILED)


async def _take(
    run: Run[SamplingRequest | RequestError],
    display: ProgressDisplay,
    results: Results | None,
    states: dict[str, tuple[str, SamplingRequest | None]],
) -> None:
    async for result in run:
        if isinstance(result, RequestError):
            states[result.request_id or ""] = f"{type(result).__name__}", None
            display.say(("failed: ", "red"), printable(str(result)))
        elif results is None:
            states[result.request_id or ""] = state_of(result), result
        else:
            if results.on_terminal:
                display.hide()
            await results.add(result)


def state_of(request: SamplingRequest) -> str:
    """Return the state of a request in a word or two."""
    if request.is_errored:
        return "failed"
    if request.is_complete:
        return "complete" if request.responses else "complete, no images"
    if request.completion_percentage is not None:
        return f"{request.completion_percentage:.0f} %"
    return "running" if request.has_started else "queued"


def _print_table(ids: list[str], states: dict[str, tuple[str, SamplingRequest | None]]) -> None:
    """Print aligned columns, the prompt last: on a terminal it is cut, elsewhere it is whole."""
    console = Console()
    rows = [(one, *states[one]) for one in dict.fromkeys(ids) if one in states]
    wide = max((len(printable(row[0])) for row in rows), default=0)
    state_wide = max((len(row[1]) for row in rows), default=0)
    for request_id, state, record in rows:
        model = "" if record is None else shortened(record.model_version or "", 16)
        prompt = "" if record is None else shortened(record.user_prompt or "", 200)
        console.say_cut(
            (f"{printable(request_id):{wide}}", "cyan"),
            f"  {state:{state_wide}}  {model:16}  {prompt}".rstrip(),
        )

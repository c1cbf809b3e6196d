"""`ideogram-async watch`: ids in, one line of JSON out for each as it completes."""

import asyncio
import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from ideogram_async import Downloads, IdeogramClient, RequestError, Run, SamplingRequest
from ideogram_async.cli._bars import MOST_BARS
from ideogram_async.cli._console import Console
from ideogram_async.cli._delivery import deliver, explained
from ideogram_async.cli._exit_codes import Code, CommandError, usage_errors
from ideogram_async.cli._ids import IdStream, gather, no_ids, number_of, opened, without
from ideogram_async.cli._image_saver import ImageSaver, check_directory
from ideogram_async.cli._options import (
    AccessToken,
    AllowHTTP,
    AllowLoopback,
    AssetsURL,
    BaseURL,
    MaxInFlight,
    MaxRate,
    Origin,
    Quality,
    QualityName,
    Ray,
    RequestIds,
    ShardCount,
    Token,
)
from ideogram_async.cli._progress_display import ProgressDisplay
from ideogram_async.cli._request_states import RequestStates
from ideogram_async.cli._results import Results, results_to

Polling: TypeAlias = Callable[..., Run[Any]]
"""`IdeogramClient.as_completed`, or what polls instead of it."""


def watch(
    ids: RequestIds = None,
    *,
    origin: Origin = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Add to this file of results, and ask only for what it does not hold.",
            show_default=False,
        ),
    ] = None,
    download: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Save the images there, with an index.html that shows them.",
            show_default=False,
        ),
    ] = None,
    quality: Quality = "lossless",
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
    assets_url: AssetsURL = None,
    allow_loopback: AllowLoopback = False,
    ray: Ray = None,
    shards: ShardCount = 2,
    token: Token = None,  # noqa: ARG001 - its callback acts
    access_token: AccessToken = None,  # noqa: ARG001 - its callback acts
) -> None:
    """Poll requests until all are complete.

    This is the library's `as_completed`.

    Each finished request is one line of JSON on standard output, or in the file of --output;
    progress and failures go to standard error. Whatever ended it, the same call with the same
    --output goes on where it was.

    For example:

    \b
    ideogram-async watch --from ids.txt > finished.jsonl
    ideogram-async watch --from ids.txt --output finished.jsonl --download images
    some-program | ideogram-async watch --from - | jq -r .request_id

    The key comes from the environment alone, as IDEOGRAM_TOKEN (Authorization: Bearer) or
    IDEOGRAM_ACCESS_TOKEN (Access-Token): on a command line every process could see it.

    Exit code: 0 all complete, 1 some failed or their images did, 2 wrong usage, 3 the run was
    ended (keys refused, wrong address, timeout, output full), 130 interrupted, 141 standard output
    was closed.
    """  # noqa: D301 - typer keeps the lines of what follows that sign
    with opened(origin) as file, results_to(output) as results:
        source = gather(ids or (), file)
        check_directory(download)
        settings: dict[str, Any] = {
            "base_url": base_url,
            "deadline": None if deadline == 0 else deadline,
            "max_in_flight": max_in_flight,
            "max_rate": max_rate,
            "allow_http": allow_http,
        }
        states = RequestStates()
        with usage_errors():
            downloads = Downloads()
            if assets_url is not None:
                downloads = Downloads(assets_url=assets_url, allow_loopback=allow_loopback)
            client = IdeogramClient(**settings, downloads=downloads, hooks=[states])
        sharded = None if ray is None else _polling_by_shards(ray, shards, settings)
        watching = run_watch(
            client,
            source,
            results,
            timeout=timeout,
            directory=download,
            quality=quality,
            sharded=sharded,
            states=None if sharded else states,
        )
        with redirect_stdout(sys.stderr) if sharded else nullcontext():  # Ray prints to stdout
            asyncio.run(watching)


def _polling_by_shards(address: str, shards: int, settings: dict[str, Any]) -> Polling:
    try:
        from ideogram_async.ray import ray_as_completed  # noqa: PLC0415 - an extra's
    except ImportError as error:
        raise CommandError(f"--ray {error}", Code.USAGE) from None
    return partial(ray_as_completed, shards=shards, address=address, **settings)


async def run_watch(
    client: IdeogramClient,
    ids: list[str] | IdStream,
    results: Results,
    *,
    timeout: float | None = None,
    directory: Path | None = None,
    quality: QualityName = "lossless",
    sharded: Polling | None = None,
    states: RequestStates | None = None,
) -> None:
    """Poll the ids that the results do not hold, and save images if there is a directory."""
    console = Console(stderr=True)
    order = ids if isinstance(ids, list) else ()
    ids, known = without(ids, results.known)
    async with client:
        saver = _saver(client, directory, quality, console, results, order=order)
        bars = _bars(console, ids)
        with usage_errors():
            # Changes are asked for where they are shown, and where shards would report them.
            polling = sharded or (client.watch if bars else client.as_completed)
            run = polling(ids, timeout=timeout, return_exceptions=True)
        async with run:
            statistics = getattr(run, "client_statistics", client.statistics)  # of shards, with Ray
            display = ProgressDisplay(
                console,
                statistics,
                run,
                base_url=client.base_url,
                ids_with_bars=bars,
                total=number_of(ids),
                known=known,
                states=states,
                saver=saver,
            )
            with explained(run, results), display:
                async with saver or nullcontext():
                    await deliver(run, display, results, saver)
            _conclude(run, display, results, saver)


def _bars(console: Console, ids: list[str] | IdStream) -> list[str]:
    """Return the ids that have a bar each: all of them, while they are few."""
    if console.is_interactive and isinstance(ids, list) and len(ids) <= MOST_BARS:
        return ids
    return []


def _saver(
    client: IdeogramClient,
    directory: Path | None,
    quality: QualityName,
    console: Console,
    results: Results,
    *,
    order: Iterable[str],
) -> ImageSaver | None:
    if directory is None:
        return None
    return ImageSaver(
        client, directory, quality, console=console, former=results.records(), order=order
    )


def _conclude(
    run: Run[SamplingRequest | RequestError],
    display: ProgressDisplay,
    results: Results,
    saver: ImageSaver | None,
) -> None:
    if not run.statistics().taken and not results.known:
        raise no_ids()
    display.console.say(display.summary())
    if saver is not None and saver.saved:
        display.console.say(f"the images: {saver.page}")
    if run.statistics().failed or (saver is not None and saver.failures):
        raise typer.Exit(Code.FAILED)

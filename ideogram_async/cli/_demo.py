"""`ideogram-async demo`: the library at work, against a gateway of its own."""

import asyncio
import secrets
from statistics import fmean
from typing import TYPE_CHECKING, Annotated

import typer

from ideogram_async import IdeogramClient, SamplingRequest
from ideogram_async.cli._bars import FEW
from ideogram_async.cli._console import Screen, shortened
from ideogram_async.cli._progress_display import ProgressDisplay
from ideogram_async.cli._samples import submit_samples

if TYPE_CHECKING:
    from ideogram_async.testing import Gateway

LATENCY = (0.02, 0.1)


def demo(
    count: Annotated[int, typer.Option(min=1, max=1000, help="Requests to submit.")] = 24,
    seed: Annotated[int, typer.Option(help="Of what is submitted.")] = 0,
) -> None:
    """Show the library at work on this machine alone.

    A loopback gateway is started and given requests of mixed kinds, which are polled until all
    are complete. That takes less than 20 seconds.
    """
    asyncio.run(_demo(Screen(), count, seed))


async def _demo(screen: Screen, count: int, seed: int) -> None:
    from ideogram_async.testing import Gateway  # noqa: PLC0415 - `watch` need not load a server

    token = secrets.token_urlsafe()
    async with Gateway(tokens=[token], latency=LATENCY, seed=seed) as gateway:
        ids = submit_samples(gateway, count, seed)
        screen.say(f"{count} requests submitted to {gateway.url}")
        async with IdeogramClient(gateway.url, token=token) as client:
            lags = await _poll(screen, client, gateway, ids)
            _sum_up(screen, client, lags)


async def _poll(
    screen: Screen, client: IdeogramClient, gateway: "Gateway", ids: list[str]
) -> list[float]:
    """Print each request as it completes; give each one's lag in seconds."""
    loop = asyncio.get_running_loop()
    lags = []
    async with client.watch(ids, just_submitted=True) as run:
        with ProgressDisplay(screen, client, run, each=ids[:FEW], total=len(ids)) as meter:
            async for request in run:
                if not request.is_complete:
                    meter.note(request)
                    continue
                meter.ended(request.request_id)
                submission = gateway.submissions[request.request_id]
                now = loop.time()
                lags.append(now - submission.completes_at)
                _show(screen, request, now - submission.submitted)
    return lags


def _show(screen: Screen, request: SamplingRequest, seconds: float) -> None:
    screen.say(
        (shortened(request.request_id, 22), "cyan"),
        f"  {shortened(request.model_version or '', 14):14}  {seconds:4.1f} s  ",
        shortened(request.user_prompt or "", 40),
    )


def _sum_up(screen: Screen, client: IdeogramClient, lags: list[float]) -> None:
    figures = client.statistics()
    screen.say(
        (f"{figures.completed} completed", "bold green"),
        f", {figures.queries / len(lags):.1f} queries a request, {figures.refused} refused,"
        f" {fmean(lags):.2f} s mean lag",
    )

"""`ideogram-async demo`: the library at work, against a gateway of its own."""

import asyncio
import random
import secrets
from statistics import fmean
from typing import Annotated, NamedTuple

import typer

from ideogram_async import IdeogramClient, SamplingRequest
from ideogram_async.cli._ending import exit_codes
from ideogram_async.cli._meter import Meter
from ideogram_async.cli._terminal import Screen, shortened
from ideogram_async.testing import Gateway, ProgressKind

PROMPTS = (
    "a lighthouse at dawn",
    "a fox in deep snow, film grain",
    "灯台と夜明け、木版画",
    "poster that says GOOD MORNING",
    "an orchard seen from a balloon",
    "a teapot shaped like a snail",
    "a street in Lisbon after rain",
)
LATENCY = (0.02, 0.1)


class Kind(NamedTuple):
    """A sort of request, with seconds of work between two bounds."""

    progress: ProgressKind
    shortest: float
    longest: float
    model: str
    speed: int = 0
    queue: float = 0.0


KINDS = (
    Kind("text", 1.5, 3, "V_3_0", speed=2),
    Kind("text", 4, 7, "V_3_0"),
    Kind("stuck", 7, 10, "V_2_0"),
    Kind("steps", 3, 6, "V_2_0"),
    Kind("absent", 3, 7, "EXTERNAL_MODEL"),
    Kind("text", 6, 9, "V_4_0", speed=-2, queue=1.5),
    Kind("linear", 2, 5, "V_1_5"),
    Kind("lying", 3, 6, "V_2_1"),
)
"""What gateways were seen to do: fall back at the start, tell nothing, stay at 99 %."""


def demo(
    count: Annotated[int, typer.Option(min=1, max=1000, help="Requests to submit.")] = 24,
    seed: Annotated[int, typer.Option(help="Of what is submitted.")] = 0,
) -> None:
    """Show the library at work on this machine alone.

    A loopback gateway is started and given requests of mixed kinds, which are polled until all
    are complete. That takes less than 20 seconds.
    """
    with exit_codes():
        asyncio.run(_demo(Screen(), count, seed))


async def _demo(screen: Screen, count: int, seed: int) -> None:
    token = secrets.token_urlsafe()
    async with Gateway(tokens=[token], latency=LATENCY, seed=seed) as gateway:
        ids = _submit(gateway, count, seed)
        screen.say(f"{count} requests submitted to {gateway.url}")
        async with IdeogramClient(gateway.url, token=token) as client:
            lags = await _poll(screen, client, gateway, ids)
            _sum_up(screen, client, lags)


def _submit(gateway: Gateway, count: int, seed: int) -> list[str]:
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = [KINDS[place % len(KINDS)] for place in range(count)]
    return [
        gateway.submit(
            progress=kind.progress,
            duration=chance.uniform(kind.shortest, kind.longest),
            queue=kind.queue,
            model_version=kind.model,
            sampling_speed=kind.speed,
            prompt=chance.choice(PROMPTS),
        )
        for kind in kinds
    ]


async def _poll(
    screen: Screen, client: IdeogramClient, gateway: Gateway, ids: list[str]
) -> list[float]:
    """Print each request as it completes; give each one's lag in seconds."""
    loop = asyncio.get_running_loop()
    lags = []
    async with client.as_completed(ids, just_submitted=True) as run:
        with Meter(screen, client, run):
            async for request in run:
                submission = gateway.submissions[request.request_id or ""]
                now = loop.time()
                lags.append(now - submission.completes_at)
                _show(screen, request, now - submission.submitted)
    return lags


def _show(screen: Screen, request: SamplingRequest, seconds: float) -> None:
    screen.say(
        (shortened(request.request_id or "", 22), "cyan"),
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

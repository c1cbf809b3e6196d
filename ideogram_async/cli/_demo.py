"""`ideogram-async demo`: a loop and this library side by side, on the same requests."""

import asyncio
import random
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from ideogram_async import (
    Credential,
    Event,
    IdeogramClient,
    RequestError,
    SessionChanged,
)
from ideogram_async.cli._bars import RequestBars
from ideogram_async.cli._console import Console, shortened
from ideogram_async.cli._demo_frame import DemoFrame, Side, svg_of
from ideogram_async.cli._naive_loop import poll_naively
from ideogram_async.cli._progress_display import FRAME_SECONDS
from ideogram_async.cli._samples import Samples

LATENCY_SECONDS = (0.02, 0.1)
QUERIES_PER_SECOND = 6
"""What each of the two gateways allows; neither the loop nor the library is told."""
LONGEST_SECONDS = 14.0
"""After which what is not complete yet is counted as open."""
PICTURE_SECONDS = 8.5
"""The moment that `--svg` shows."""
KEYS = ("demo-key-1", "demo-key-2")
"""Made up. The gateways accept the first one only."""
PROGRAM = "ideogram-async"
NEXT_STEPS = (
    "{program} serve > ids.txt",
    "export IDEOGRAM_BASE_URL=http://127.0.0.1:8000",
    "{program} watch --from ids.txt --output finished.jsonl --download images",
)


def demo(
    count: Annotated[int, typer.Option(min=1, max=1000, help="Requests to submit.")] = 40,
    seed: Annotated[int, typer.Option(help="Of what is submitted.")] = 0,
    svg: Annotated[
        Path | None, typer.Option(hidden=True, help="Write a picture of it, in no time.")
    ] = None,
) -> None:
    """Show a loop and this library side by side.

    It takes 15 seconds, on this machine alone. Two gateways on loopback get the same requests, and
    allow 6 queries per second each. One is polled by a loop that asks and sleeps, the other one by
    this library. One request fails, and one of the library's two keys is refused.

    For example:

    \b
    ideogram-async demo
    ideogram-async demo --count 100 --seed 7
    """  # noqa: D301 - typer keeps the lines of what follows that sign
    console = Console()
    if svg is None:
        asyncio.run(run_demo(console, count, seed))
        return
    from ideogram_async.testing import run_in_virtual_time  # noqa: PLC0415 - as in `run_demo`

    console.quiet = True
    picture = run_in_virtual_time(run_demo, console, count, seed, PICTURE_SECONDS)
    svg.write_text(picture, encoding="utf-8")


async def run_demo(
    console: Console, count: int, seed: int, longest: float = LONGEST_SECONDS
) -> str:
    """Poll the same requests in both ways; show what each costs, and return a picture of it."""
    from ideogram_async.testing import Gateway, TokenBucket  # noqa: PLC0415 - `watch` needs no server

    random.seed(seed)
    async with AsyncExitStack() as stack:
        sides: list[Side] = []
        for name in ("gather, sleep(2)", "this library"):
            limit = TokenBucket(QUERIES_PER_SECOND, QUERIES_PER_SECOND)
            gateway = Gateway(tokens=KEYS[:1], latency=LATENCY_SECONDS, limit=limit, seed=seed)
            sides.append(Side(name, await stack.enter_async_context(gateway)))
        # They are of one seed, and so have the same ids.
        ids, _ = (Samples(seed).submit(side.gateway, count, failing=1) for side in sides)
        return await _Demo(console, *sides, ids=ids).run(longest)


class _Demo:
    """Both ways at once, and what is shown of them."""

    def __init__(self, console: Console, loop: Side, library: Side, *, ids: list[str]) -> None:
        self._console = console
        self._ids = ids
        self._clock = asyncio.get_running_loop()
        self._began = self._clock.time()
        self._bars = RequestBars(ids)
        self._loop = loop
        self._library = library
        heading = (
            f"{len(ids)} requests at a gateway that allows {QUERIES_PER_SECOND} queries per second"
        )
        self._frame = DemoFrame(heading, (loop, library), len(ids), self._bars)
        self._client = IdeogramClient(
            library.gateway.url,
            credentials=[Credential(token=key) for key in KEYS],
            hooks=[self._on_event],
        )

    async def run(self, longest: float) -> str:
        """Poll until both have ended, or the time is up; return a picture of that moment."""
        if not self._console.is_interactive:
            self._console.say(self._frame.heading)
        live = self._console.live(self._frame)
        drawing = asyncio.create_task(self._draw(live))
        loop = poll_naively(self._loop.gateway.url, KEYS[0], self._ids, self._loop.ended)
        ways = [asyncio.create_task(loop), asyncio.create_task(self._poll())]
        try:
            done, _ = await asyncio.wait(ways, timeout=longest)
            picture = svg_of(self._frame)
        finally:
            for task in (*ways, drawing):
                task.cancel()
            await asyncio.gather(*ways, drawing, return_exceptions=True)
            await self._client.close()
            if live is not None:
                live.stop()
        for task in done:
            task.result()
        self._sum_up()
        return picture

    async def _draw(self, live: Live | None) -> None:
        while live is not None:
            live.start()
            live.refresh()
            await asyncio.sleep(FRAME_SECONDS)

    async def _poll(self) -> None:
        run = self._client.watch(self._ids, just_submitted=True, return_exceptions=True)
        async with run:
            async for result in run:
                if isinstance(result, RequestError):
                    name = shortened(result.request_id or "", 22)
                    self._happened(f"request {name} failed; no other is affected")
                elif not result.is_complete:
                    self._bars.update(result)
                    continue
                self._bars.remove(result.request_id)
                self._library.ended(result.request_id or "")

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, SessionChanged):
            return
        status = (event.reason or "")[:3]
        match event.state, event.former:
            case "refused", _:
                self._happened(
                    f"key {event.session + 1} of 2 is refused ({status}); it uses the other"
                )
            case "throttled", _:
                self._happened(f"too many queries ({status}): it pauses, then tries one")
            case "open", "throttled":
                rate = self._client.statistics().sessions[event.session].rate or 0.0
                self._happened(f"the limit is found: at most {rate:.1f} queries per second")

    def _happened(self, what: str) -> None:
        line = f"{self._clock.time() - self._began:5.1f} s  {what}"
        self._frame.events.append(line)
        if not self._console.is_interactive:
            self._console.say(line)

    def _sum_up(self) -> None:
        if self._console.is_interactive:
            self._console.say(self._frame.heading)
            for line in self._frame.events:
                self._console.say(line)
        self._console.print(self._frame.comparison())
        self._console.say(_verdict(self._loop, self._library))
        self._console.say(("Try next, the first line in a terminal of its own:", "bold"))
        for line in NEXT_STEPS:
            self._console.say(line.format(program=_program()))


def _program() -> str:
    """Return how the command was called, where that is a path to type again."""
    called = Path(sys.argv[0])
    typed = called.name == PROGRAM and not called.is_absolute()
    return str(called) if typed else PROGRAM


def _verdict(loop: Side, library: Side) -> str:
    """Return the comparison in one sentence."""
    share = len(library.gateway.queries) / max(len(loop.gateway.queries), 1)
    told = f"The library sent {share:.0%} of the queries"
    lags = loop.mean_lag(), library.mean_lag()
    if lags[0] is not None and lags[1] is not None:
        word = "sooner" if lags[0] >= lags[1] else "later"
        told += f", and knew of an end {abs(lags[0] - lags[1]):.1f} s {word}"
    return f"{told}."

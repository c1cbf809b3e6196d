"""`ideogram-async serve`: the loopback gateway alone, for trying things out against it."""

import asyncio
import errno
import os
from contextlib import suppress
from typing import Annotated

import typer

from ideogram_async.cli._console import Console
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._samples import Samples

LATENCY_SECONDS = (0.02, 0.1)
SECONDS_BETWEEN_REQUESTS = 1.0


def serve(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    count: Annotated[int, typer.Option(min=0, max=100_000, help="Requests at the start.")] = 24,
    duration: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Seconds that each request takes; default: 1.5 to 10.5, by its kind.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            min=0.1, help="Queries per second that are allowed; default: all.", show_default=False
        ),
    ] = None,
    fail: Annotated[int, typer.Option(min=0, help="Requests among them that fail.")] = 0,
    seed: Annotated[int, typer.Option(help="Of what is submitted.")] = 0,
) -> None:
    """Run a gateway on this machine, until Ctrl-C.

    This is the library's `testing.Gateway`. The ids of its requests are printed on standard output,
    one a line, ready for `watch --from`. They begin when it starts, and a new one comes each
    second. Their images are served, too. Where IDEOGRAM_TOKEN or IDEOGRAM_ACCESS_TOKEN is set, it
    takes that key alone.

    For example:

    \b
    ideogram-async serve > ids.txt
    ideogram-async serve --count 500 --duration 60 --limit 20 --fail 5 > ids.txt
    ideogram-async serve | IDEOGRAM_BASE_URL=http://127.0.0.1:8000 ideogram-async watch --from -
    """  # noqa: D301 - typer keeps the lines of what follows that sign
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, Samples(seed, duration), count, fail, limit))


async def _serve(port: int, samples: Samples, count: int, fail: int, limit: float | None) -> None:
    from ideogram_async.testing import Gateway, TokenBucket  # noqa: PLC0415 - `watch` needs no server

    gateway = Gateway(
        tokens=_key("IDEOGRAM_TOKEN"),
        access_tokens=_key("IDEOGRAM_ACCESS_TOKEN"),
        latency=LATENCY_SECONDS,
        limit=None if limit is None else TokenBucket(limit, max(limit, 1.0)),
        port=port,
    )
    try:
        await gateway.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        message = f"port {port} is in use; --port 0 takes one that is free"
        raise CommandError(message, Code.ENDED) from None
    async with gateway:
        Console(stderr=True).say((f"export IDEOGRAM_BASE_URL={gateway.url}", "bold"))
        output = Console()
        for request_id in samples.submit(gateway, count, failing=min(fail, count)):
            output.say(request_id)
        while True:
            await asyncio.sleep(SECONDS_BETWEEN_REQUESTS)
            output.say(*samples.submit(gateway, 1))


def _key(variable: str) -> list[str]:
    key = os.environ.get(variable, "").strip()
    return [key] if key else []

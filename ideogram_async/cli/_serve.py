"""`ideogram-async serve`: the loopback gateway alone, for trying things out against it."""

import asyncio
import errno
import os
from contextlib import suppress
from typing import Annotated

import typer

from ideogram_async.cli._console import Screen
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._samples import submit_samples

LATENCY = (0.02, 0.1)


def serve(
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 for any that is free.")] = 8000,
    count: Annotated[int, typer.Option(min=0, max=100_000, help="Requests to submit.")] = 24,
    seed: Annotated[int, typer.Option(help="Of what is submitted.")] = 0,
) -> None:
    """Run the gateway of the tests on this machine, until Ctrl-C.

    The ids of its requests are printed on standard output, one a line, ready for `watch --from`;
    they begin when it starts. Images are served, too. Where IDEOGRAM_TOKEN or
    IDEOGRAM_ACCESS_TOKEN is set, it takes that key alone.
    """
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(port, count, seed))


async def _serve(port: int, count: int, seed: int) -> None:
    from ideogram_async.testing import Gateway  # noqa: PLC0415 - `watch` need not load a server

    gateway = Gateway(
        tokens=_key("IDEOGRAM_TOKEN"),
        access_tokens=_key("IDEOGRAM_ACCESS_TOKEN"),
        latency=LATENCY,
        port=port,
        seed=seed,
    )
    try:
        await gateway.start()
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        message = f"port {port} is in use; --port 0 takes one that is free"
        raise CommandError(message, Code.ENDED) from None
    async with gateway:
        told = Screen(stderr=True)
        told.say((f"IDEOGRAM_BASE_URL={gateway.url}", "bold"))
        told.say(f"images: --assets-url {gateway.assets_url} --allow-loopback")
        output = Screen()
        for request_id in submit_samples(gateway, count, seed):
            output.say(request_id)
        await asyncio.get_running_loop().create_future()


def _key(variable: str) -> list[str]:
    key = os.environ.get(variable, "").strip()
    return [key] if key else []

"""The loopback gateway in a process of its own, so that a client's CPU time holds none of it."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from benchmarks._machine import ROOT
from ideogram_async.testing import Gateway

P = ParamSpec("P")
T = TypeVar("T")


class GatewayProcess:
    """This process's end of the connection to the gateway's process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.url, self.assets_url = self.call(_addresses)

    def call(
        self,
        function: Callable[Concatenate[Gateway, P], T],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> T:
        """Return what a function of a module returns for the gateway, in the gateway's process."""
        self._connection.send((function, arguments, named))
        result: T = self._connection.recv()
        return result

    def submit(self, durations: Iterable[float]) -> list[str]:
        """Submit a request for each duration (seconds), and return their ids."""
        return self.call(_submit, [*durations])

    def environment(self) -> dict[str, str]:
        """Return the environment of another process that polls this gateway."""
        kept = {name: value for name, value in os.environ.items() if "IDEOGRAM" not in name}
        return kept | {"IDEOGRAM_BASE_URL": self.url, "PYTHONPATH": str(ROOT)}


@contextmanager
def gateway_process(**settings: Any) -> Iterator[GatewayProcess]:
    """Run a `Gateway` with these settings within the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_run, args=(theirs, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        yield GatewayProcess(ours)
    finally:
        ours.close()
        process.join()


def _addresses(gateway: Gateway) -> tuple[str, str]:
    return gateway.url, gateway.assets_url


def _submit(gateway: Gateway, durations: list[float]) -> list[str]:
    return [gateway.submit(duration=duration) for duration in durations]


def _run(connection: Connection, settings: dict[str, Any]) -> None:
    asyncio.run(_serve(connection, settings))


async def _serve(connection: Connection, settings: dict[str, Any]) -> None:
    """Serve, and answer calls, until the other end is closed."""
    async with Gateway(**settings) as gateway:
        with suppress(EOFError):
            while True:
                function, arguments, named = await asyncio.to_thread(connection.recv)
                connection.send(function(gateway, *arguments, **named))

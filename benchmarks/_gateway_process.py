"""A gateway in a process of its own, so that it takes no time of the client's."""

from __future__ import annotations

import asyncio
import multiprocessing
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ideogram_async.testing import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection

WINDOW = 10.0


class ObservedTraffic(NamedTuple):
    """What the gateway has seen since the ids were submitted."""

    queries: int
    peak_in_flight: int
    most_in_10_s: int


class Served:
    """The other end of the process."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.url: str = self._ask("url")

    def submit(self, count: int) -> list[str]:
        """Submit requests that are complete at once; forget the former ones."""
        ids: list[str] = self._ask("submit", count)
        return ids

    def seen(self) -> ObservedTraffic:
        """Give the figures."""
        return ObservedTraffic(*self._ask("seen"))

    def _ask(self, *message: Any) -> Any:
        self._connection.send(message)
        return self._connection.recv()


@contextmanager
def gateway_process(**settings: Any) -> Iterator[Served]:
    """Serve within the block."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, settings), daemon=True)
    process.start()
    theirs.close()
    try:
        yield Served(ours)
    finally:
        ours.close()
        process.join()


def _serve(connection: Connection, settings: dict[str, Any]) -> None:
    asyncio.run(_gateway(connection, settings))


async def _gateway(connection: Connection, settings: dict[str, Any]) -> None:
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    async with Gateway(**settings) as gateway:

        def answer() -> None:
            try:
                message = connection.recv()
            except EOFError:
                loop.remove_reader(connection.fileno())
                over.set()
                return
            connection.send(_answer(gateway, *message))

        loop.add_reader(connection.fileno(), answer)
        await over.wait()


def _answer(gateway: Gateway, what: str, *arguments: Any) -> Any:
    if what == "submit":
        (count,) = arguments
        gateway.queries.clear()
        gateway.submissions.clear()
        gateway.peak_in_flight = 0
        return [gateway.submit(duration=0) for _ in range(count)]
    if what == "seen":
        times = [query.at for query in gateway.queries]
        return (len(times), gateway.peak_in_flight, _most(times))
    return gateway.url


def _most(times: list[float]) -> int:
    """Count the queries in the window that has the most of them."""
    most, within = 0, deque[float]()
    for time in times:
        within.append(time)
        while within[0] <= time - WINDOW:
            within.popleft()
        most = max(most, len(within))
    return most

"""6. A gateway that is never there: each id ends in its time, and everybody is told why at once."""

from __future__ import annotations

import asyncio
import math
import re
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import anyio

from benchmarks.faults.scene import Goal, Scene
from benchmarks.faults.stage import DEADLINE, Stage, staged
from ideogram_async import IdeogramClient
from ideogram_async.testing import Gateway, run_in_virtual_time
from tests.support.raw_server import FullPort

TOLD_AFTER = 3.0
"""Seconds from the first failure until statistics and log say why."""
A_MOMENT = 0.01
"""Seconds: what happens at the last instant counts."""
GRACE = 60.0
"""Seconds after its deadline in which an id has ended."""
TIMEOUT = 8.0
"""Seconds that a call with a timeout of its own may take."""
NO_NAME = 40.0
"""Seconds in which a run ends whose gateway's name does not exist."""

Calls: TypeAlias = Callable[[Stage, list[str]], Coroutine[Any, Any, None]]


class Absence(NamedTuple):
    """A gateway that cannot be reached."""

    opened: Callable[[], AbstractAsyncContextManager[dict[str, Any]]]
    """What gives the settings of a client that meets it."""
    words: str
    """A pattern that every account of it must match, in any case."""
    first_failure: float = 0.0
    """When the first query has failed, in seconds."""


@asynccontextmanager
async def _refusing() -> AsyncIterator[dict[str, Any]]:
    """Keep a port on which nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield {"base_url": f"http://127.0.0.1:{held.getsockname()[1]}"}


@asynccontextmanager
async def _silent() -> AsyncIterator[dict[str, Any]]:
    """Keep a port that lets nobody in: connecting takes until its timeout."""
    with FullPort() as port:
        yield {"base_url": port.url}


@asynccontextmanager
async def _refusing_proxy() -> AsyncIterator[dict[str, Any]]:
    """Have a proxy where nothing listens."""
    async with _refusing() as refusing:
        yield {"base_url": "https://gateway.invalid", "proxy": refusing["base_url"]}


@asynccontextmanager
async def _unwilling_proxy(base_url: str) -> AsyncIterator[dict[str, Any]]:
    """Have a proxy that wants a password."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        yield {"base_url": base_url, "proxy": f"http://127.0.0.1:{port}"}


@asynccontextmanager
async def _nameless() -> AsyncIterator[dict[str, Any]]:
    """Let no name be known."""
    look_up_names(lambda: socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    yield {"base_url": "https://nonexistent.invalid"}


def look_up_names(fails: Callable[[], Exception | None]) -> None:
    """Make the loop find every name on loopback, or fail: real look-ups need a network."""

    async def getaddrinfo(_: str, port: int, **__: object) -> list[Any]:
        error = fails()
        if error is not None:
            raise error
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    asyncio.get_running_loop().getaddrinfo = getaddrinfo  # type: ignore[method-assign, assignment]


ABSENCES = {
    "refused": Absence(_refusing, "refused|connect call failed"),
    "silent": Absence(_silent, "connect", first_failure=5.0),
    "no-name": Absence(_nameless, "name|resolve|known"),
    "proxy-refused": Absence(_refusing_proxy, "proxy"),
    "proxy-407": Absence(partial(_unwilling_proxy, "http://127.0.0.1:9"), "proxy.*407|407.*proxy"),
    "proxy-407-tls": Absence(
        partial(_unwilling_proxy, "https://gateway.invalid"), "proxy.*407|407.*proxy"
    ),
}


def absent(
    name: str, ids: int, calls: Calls, seed: int, *, within: float = DEADLINE + GRACE
) -> list[Goal]:
    """Nothing answers: each id has ended in time, and its error says why."""
    return run_in_virtual_time(_absent, ABSENCES[name], ids, calls, within, seed)


async def _absent(absence: Absence, ids: int, calls: Calls, within: float, seed: int) -> list[Goal]:
    async with absence.opened() as settings, staged(seed, **settings) as stage:
        told: list[Goal] = []
        listed = [f"absent-{number:05}" for number in range(ids)]
        look = _look(stage, absence, told)
        await stage.play(calls(stage, listed), look, until=within + 2 * GRACE)
        return [
            Goal("ended after", _ended(stage), within, "s"),
            Goal("not told", _untold(stage, absence.words, ids), 0),
            *told,
        ]


async def _look(stage: Stage, absence: Absence, told: list[Goal]) -> None:
    """Look whether statistics and log say why, soon after the first failure."""
    await anyio.sleep(absence.first_failure + TOLD_AFTER + A_MOMENT)
    reasons = [str(one.reason) for one in stage.client.statistics().sessions]
    for where, lines in (("statistics", reasons), ("log", stage.warnings())):
        says = any(_says(absence.words, words) for words in lines)
        told.append(Goal(f"{where} silent", not says, 0))


def _says(pattern: str, words: str) -> bool:
    return re.search(pattern, words, re.IGNORECASE) is not None


def _ended(stage: Stage) -> float:
    return math.inf if stage.unended() else stage.last_end()


def _untold(stage: Stage, pattern: str, ids: int) -> int:
    """Return how many ids did not end with the reason; a run's end counts for its pending ids."""
    told = sum(_says(pattern, str(error)) for error in stage.errors(stage.given).values())
    for stop in stage.stops:
        if stop.error is not None and _says(pattern, str(stop.error)):
            told += len(stop.error.pending)
    return ids - told


# Names


def names_fail_for_a_while(seed: int) -> list[Goal]:
    """The look-up of names fails for a minute (`EAI_AGAIN`): that is an outage, which passes."""
    return run_in_virtual_time(_names_fail, seed)


async def _names_fail(seed: int) -> list[Goal]:
    loop = asyncio.get_running_loop()
    again = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
    async with Gateway(seed=seed) as gateway:
        look_up_names(lambda: again if loop.time() < 60.0 else None)
        url = gateway.url.replace("127.0.0.1", "gateway.invalid")
        async with IdeogramClient(url, allow_http=True) as client:
            stage = Stage(gateway, client, seed)
            sound = stage.submit(20)
            await stage.play(stage.run(sound))
            return [Goal("runs ended", len(stage.stops), 0), Goal("lost", stage.lost(sound), 0)]


# Calls with a timeout of their own


def timed_out(calls: Calls, seed: int) -> list[Goal]:
    """A call's own timeout passes first: it, too, says why."""
    return run_in_virtual_time(_timed_out, calls, seed)


async def _timed_out(calls: Calls, seed: int) -> list[Goal]:
    async with _refusing() as settings, staged(seed, **settings) as stage:
        await stage.play(calls(stage, ["absent"]), until=GRACE)
        return [
            Goal("ended after", _ended(stage), TIMEOUT + 0.5, "s"),
            Goal("not told", _untold(stage, ABSENCES["refused"].words, 1), 0),
        ]


SCENES: dict[str, Scene] = {
    **{
        f"absent/refused/{ids}/run": partial(absent, "refused", ids, Stage.run)
        for ids in (1, 50, 1000, 5000)
    },
    **{
        f"absent/refused/{ids}/waits": partial(absent, "refused", ids, Stage.waits)
        for ids in (1, 50, 1000)
    },
    **{f"absent/silent/{ids}/run": partial(absent, "silent", ids, Stage.run) for ids in (1, 50)},
    **{
        f"absent/{name}/{ids}/retrieve-many": partial(
            absent, name, ids, partial(Stage.retrieve_many, timeout=None), within=GRACE
        )
        for name, ids in (("refused", 1), ("refused", 50), ("refused", 5000), ("silent", 50))
    },
    "absent/refused/200/deadline-30": partial(
        absent, "refused", 200, partial(Stage.run, deadline=30.0), within=30.0 + GRACE
    ),
    "absent/timed-out/wait": partial(timed_out, partial(Stage.waits, timeout=TIMEOUT)),
    "absent/timed-out/run": partial(timed_out, partial(Stage.run, timeout=TIMEOUT)),
    "absent/timed-out/retrieve": partial(timed_out, partial(Stage.retrieve_each, timeout=TIMEOUT)),
    **{
        f"absent/no-name/{ids}": partial(absent, "no-name", ids, Stage.run, within=NO_NAME)
        for ids in (1, 50)
    },
    **{
        f"absent/{name}/20/run": partial(absent, name, 20, Stage.run)
        for name in ("proxy-refused", "proxy-407", "proxy-407-tls")
    },
    "names-come-back": names_fail_for_a_while,
}

"""What every row of the fault matrix plays on, and what must hold of it whatever happens."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NamedTuple

import anyio

from ideogram_async import FixedInterval, IdeogramClient, IdeogramError, RequestError
from tests.support.canary import CANARY, left_by
from tests.support.raw_server import Choice, Query, RawServer, Step, reply

LIMIT = 4
"""Queries in flight at most."""
WELL = 10.0
"""When the id beside the sick one completes."""
IDS = ("sick", "well", "quick")
LATENCY = 0.05
NO_KEY: dict[str, Any] = {"token": None, "access_token": None}


@dataclass
class Outcome:
    """How the ids of one run have ended."""

    done: dict[str, float] = field(default_factory=dict)
    """When each was yielded, on the loop's clock."""
    failed: dict[str, RequestError] = field(default_factory=dict)
    error: IdeogramError | None = None
    """What ended the run."""

    def take(self, end: Any) -> None:
        """Note one end, which no other may precede."""
        request_id = str(end.request_id)
        assert request_id not in self.done.keys() | self.failed.keys()
        if isinstance(end, RequestError):
            self.failed[request_id] = end
        else:
            assert end.is_complete
            self.done[request_id] = anyio.current_time()

    def check(self, ids: Iterable[str]) -> None:
        """Each id ended exactly once: completed, failed, or listed as pending."""
        pending = () if self.error is None else self.error.pending
        assert sorted([*self.done, *self.failed, *pending]) == sorted(ids)


RUNNING = reply({"request_id": "sick", "completion_percentage": 50})
"""A good answer for the sick id: half done."""


class Scene:
    """A gateway of bare sockets, and a client with a key in both headers."""

    def __init__(self, server: RawServer, client: IdeogramClient) -> None:
        self.server = server
        self.client = client
        self.errors: list[BaseException] = []
        self.limit = LIMIT

    async def run(self, *ids: str, **settings: Any) -> Outcome:
        """Poll ids until each has ended, or the run has."""
        outcome, ids = Outcome(), ids or IDS
        run = self.client.as_completed(ids, return_exceptions=True, **settings)
        with anyio.fail_after(7200):
            try:
                async with run:
                    async for end in run:
                        outcome.take(end)
            except IdeogramError as error:
                outcome.error = error
                self.errors.append(error)
        outcome.check(ids)
        self.errors += outcome.failed.values()
        return outcome

    async def raised(self, call: Coroutine[Any, Any, object]) -> IdeogramError:
        """Give the library's error that a call raises; anything else comes out."""
        try:
            with anyio.fail_after(7200):
                await call
        except IdeogramError as error:
            self.errors.append(error)
            return error
        raise AssertionError("nothing was raised")

    def script(self, request_id: str, *plays: Choice) -> None:
        """Put scripts in line for the queries of an id."""
        for play in plays:
            self.server.script(play, request_id=request_id)

    def asked(self, request_id: str) -> list[Query]:
        """List the queries of an id, as they came."""
        return [query for query in self.server.queries if query.request_id == request_id]

    def longest_gap(self, request_id: str) -> float:
        """Give the longest time between two queries of an id."""
        times = [query.at for query in self.asked(request_id)]
        return max((later - sooner for sooner, later in pairwise(times)), default=0.0)


def answered(server: RawServer) -> Callable[[Query], Iterable[Step]]:
    """Answer each query after a while."""
    return lambda query: [LATENCY, server.answer(query.request_id)]


@asynccontextmanager
async def staged(**settings: Any) -> AsyncIterator[Scene]:
    """Set a scene, and check afterwards that nothing of it is left."""
    async with RawServer(ends={"well": WELL}) as server:
        server.default = answered(server)
        async with _client(settings.pop("base_url", server.url), **settings) as client:
            scene = Scene(server, client)
            scene.limit = settings.get("max_in_flight", LIMIT)
            yield scene
            await anyio.sleep(LATENCY * 2)
            figures = client.statistics()
            assert (figures.pending, figures.in_flight) == (0, 0)
        await _check_left(scene)


def _client(base_url: str, **settings: Any) -> IdeogramClient:
    told: dict[str, Any] = {
        "token": CANARY,
        "access_token": CANARY,
        "max_in_flight": LIMIT,
        "schedule": FixedInterval(1.0),
        "attempt_timeout": 2,
    }
    return IdeogramClient(base_url, **{**told, **settings})


async def _check_left(scene: Scene) -> None:
    server = scene.server
    await server.emptied()
    assert server.open == []
    assert not [task for task in asyncio.all_tasks() if "ideogram_async" in task.get_name()]
    asked = len(server.queries)
    await anyio.sleep(120)
    assert len(server.queries) == asked
    assert server.peak_in_flight <= scene.limit
    for error in scene.errors:
        assert not [text for text in left_by(error) if CANARY in text]
        tie_breaker = pickle.loads(pickle.dumps(error))  # noqa: S301 - its own
        assert (type(tie_breaker), str(tie_breaker)) == (type(error), str(error))


Play = Callable[[Scene], Coroutine[Any, Any, None]]


class Row(NamedTuple):
    """One fault of the matrix."""

    promise: int
    name: str
    expected: str
    """What must come of it, in words."""
    play: Play
    """Injects it, sees that it fired, and checks what comes of it."""
    settings: dict[str, Any]
    """Settings of the client."""

    def __str__(self) -> str:
        return f"{self.promise}: {self.name}: {self.expected}"


def row(promise: int, name: str, expected: str, play: Play, **settings: Any) -> Row:
    """Make a row that plays as a function of its own says."""
    return Row(promise, name, expected, play, settings)


def asked_again(promise: int, name: str, *plays: Choice, gap: float = 1.2, **settings: Any) -> Row:
    """Make a row of what costs an id its query alone, as often as it comes."""

    async def play(scene: Scene) -> None:
        scene.script("sick", *plays)
        outcome = await scene.run()
        assert outcome.done.keys() == set(IDS)
        assert len(scene.asked("sick")) == len(plays) + 1
        assert outcome.done["sick"] >= scene.asked("sick")[-1].at
        assert WELL <= outcome.done["well"] < WELL + 1.2
        assert scene.longest_gap("well") <= gap  # the one beside it did not notice

    return Row(promise, name, "asked again, the others undisturbed", play, settings)


def fails_alone(
    promise: int,
    name: str,
    choice: Choice,
    times: int,
    kind: type[RequestError],
    *,
    words: str = "",
) -> Row:
    """Make a row of what fails its id, at the last of so many times."""

    async def play(scene: Scene) -> None:
        scene.script("sick", *[choice] * times)
        outcome = await scene.run()
        error = outcome.failed.pop("sick")
        assert type(error) is kind
        assert words in str(error)
        assert not outcome.failed
        assert outcome.done.keys() == {"well", "quick"}
        assert len(scene.asked("sick")) == times
        assert scene.longest_gap("well") <= 1.2

    return Row(promise, name, f"{kind.__name__} at the {times}., for this id alone", play, {})


def ends_the_run(
    promise: int,
    name: str,
    answer: bytes,
    kind: type[IdeogramError],
    *,
    words: str,
    **settings: Any,
) -> Row:
    """Make a row of what ends a run promptly, with every id listed."""

    async def play(scene: Scene) -> None:
        scene.server.default = lambda _: [answer]
        ids = [f"id-{number}" for number in range(50)]
        outcome = await scene.run(*ids)
        assert outcome.error is not None
        assert type(outcome.error) is kind
        assert words in str(outcome.error)
        assert sorted(outcome.error.pending) == sorted(ids)
        assert anyio.current_time() < 5
        assert 0 < len(scene.server.queries) <= 10

    return Row(promise, name, f"{kind.__name__} at once, every id listed", play, settings)


def read_at_once(promise: int, name: str, choice: Choice) -> Row:
    """Make a row of an odd answer that is one all the same."""

    async def play(scene: Scene) -> None:
        scene.script("sick", choice)
        outcome = await scene.run()
        assert outcome.done.keys() == set(IDS)
        assert outcome.done["sick"] < 1
        assert len(scene.asked("sick")) == 1

    return Row(promise, name, "a good answer all the same", play, {})


def holds_the_session(
    promise: int, name: str, answer: bytes, least: float, most: float, *, probe: bool = True
) -> Row:
    """Make a row of a refusal of an id that was answered well before.

    Nothing is asked for some time, then one probe.
    """
    then = "then one probe" if probe else "then on"

    async def play(scene: Scene) -> None:
        scene.script("sick", [LATENCY, RUNNING], [LATENCY, answer])
        outcome = await scene.run()
        assert outcome.done.keys() == set(IDS)
        refused = scene.asked("sick")[1].at + LATENCY
        first, second = [q.at for q in scene.server.queries if q.at > refused][:2]
        assert least <= first - refused <= most
        assert second >= first + LATENCY or not probe

    return Row(promise, name, f"nothing for {least:g} to {most:g} s, {then}", play, {})


def delays_the_id(promise: int, name: str, answer: bytes, least: float, most: float) -> Row:
    """Make a row of an answer that asks its id to wait, and no other."""

    async def play(scene: Scene) -> None:
        scene.script("sick", [LATENCY, RUNNING], [LATENCY, answer])
        outcome = await scene.run()
        assert outcome.done.keys() == set(IDS)
        _, second, third = [query.at for query in scene.asked("sick")][:3]
        assert least <= third - second - LATENCY <= most
        assert scene.longest_gap("well") <= 1.2

    return Row(promise, name, f"this id alone waits for {least:g} to {most:g} s", play, {})

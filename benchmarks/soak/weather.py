"""The gateway of the soak: any fault of the matrix for any query, and worse for all of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable

from ideogram_async import IdeogramClient
from tests.fault_matrix import disruptions as _disruptions
from tests.fault_matrix import scripts as _scripts
from tests.support.raw_server import Choice, End, Play, Query, RawServer, Step, reply
from tests.support.wire_faults import BROKEN, LATE

LATENCY = (0.002, 0.03)
"""Seconds that a good answer takes."""
COMMON = 0.15
"""The share of queries that meet a fault of their own."""
REFUSED = 0.002
"""The share of queries that are told of a limit, where it storms: each costs much of the load."""
_ELSEWHERE = "Location: https://elsewhere.example/"

Fault = Callable[[Query], Play]


def _plain(choice: Choice) -> Fault:
    """Speak of the id that was asked: each has as many letters as the one in the scripts."""

    def play(query: Query) -> Play:
        steps = choice(query) if callable(choice) else choice
        return steps if not isinstance(steps, Iterable) else [_of(query, step) for step in steps]

    return play


def _of(query: Query, step: Step) -> Step:
    if not isinstance(step, bytes):
        return step
    return step.replace(b'"sick"', b'"%s"' % query.request_id.encode())


def _quick(answers: dict[str, bytes]) -> dict[str, Fault]:
    return {name: _plain([answer]) for name, answer in answers.items()}


NEVER_GOOD: dict[str, Fault] = {
    **{name: _plain(choice) for name, choice in {**BROKEN, **LATE, **_scripts.CUT}.items()},
    **_quick(_scripts.NOT_DONE),
    **_quick(_scripts.NO_ANSWER),
    **_quick(_scripts.NOT_OURS),
    **_quick(_scripts.TRANSIENT),
    **{
        f"{status} of one id": _plain([_scripts.error_of(status, "no such task")])
        for status in ("404 X", "400 X", "422 X")
    },
    "empty list": _plain([reply(b'{"sampling_requests":[]}')]),
    "reset": _plain([End.RESET]),
    "FIN": _plain([End.CLOSE]),
    "HANG": _plain([End.HANG]),
}
"""What completes no id, however often it comes."""
HEAVY: dict[str, Fault] = {name: _plain(choice) for name, choice in _scripts.LARGE.items()}
"""What costs both ends much."""
REFUSALS: dict[str, Fault] = {
    "429": _plain([reply(b"", "429 X")]),
    "429 with Retry-After": _plain([reply(b"", "429 X", "Retry-After: 1")]),
    "503 HTML": _plain([_scripts.page("503 X")]),
}
GOOD: dict[str, Fault] = _quick(_scripts.GOOD_ENOUGH)
"""Odd answers that complete an id."""


class Weather:
    """What each query meets, and what it was told."""

    def __init__(self, rng: random.Random, server: RawServer, *, stormy: bool) -> None:
        self.fired: Counter[str] = Counter()
        self.told_done: set[str] = set()
        """The ids that have been told complete."""
        self.client: IdeogramClient | None = None
        self.most_in_flight: int = 0
        self._rng = rng
        self._server = server
        self._storm: Fault | None = None
        self._refused = REFUSED if stormy else 0.0
        extras = dict(_disruptions.EXTRA)
        if not stormy:  # nothing tells a refusal out of step from one of its key
            del extras["a refusal"]
        self._extras = list(extras.values())
        server.default = self.choose

    def choose(self, query: Query) -> Play:
        """Say what a query gets."""
        if self.client is not None:
            figures = self.client.statistics()
            self.most_in_flight = max(self.most_in_flight, figures.in_flight)
        if self._storm is not None:
            return self._storm(query)
        draw = self._rng.random()
        if draw < self._refused:
            return self._fault(query, REFUSALS)
        if draw < COMMON:
            return self._fault(query, HEAVY if self._rng.random() < 0.005 else NEVER_GOOD)
        return self._answer(query)

    async def change(self) -> None:
        """Have one storm after another, with fair weather in between."""
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 2.5))
            name = self._rng.choice(list(_STORMS))
            self.fired[name] += 1
            await _STORMS[name](self)

    def forget(self) -> None:
        """Keep nothing of a round that is over."""
        server = self._server
        server.queries.clear()
        server.connections[:] = server.open
        for connection in server.connections:
            connection.queries.clear()
        server.ends.clear()
        self.told_done.clear()

    def _answer(self, query: Query) -> Play:
        request_id, rng = query.request_id, self._rng
        answer = self._server.answer(request_id)
        if b'"is_completed": true' in answer:
            self.told_done.add(request_id)
            if rng.random() < 0.1:
                return self._fault(query, GOOD)
        wait = rng.uniform(*LATENCY)
        if rng.random() < 0.03:
            self.fired["late extra answer"] += 1
            return [wait, answer, rng.choice([0.0, 0.003, 0.05]), rng.choice(self._extras)]
        if rng.random() < 0.03:
            self.fired["closed after the answer"] += 1
            return [wait, answer, rng.choice([End.CLOSE, End.RESET])]
        return [wait, answer]

    def _fault(self, query: Query, faults: dict[str, Fault]) -> Play:
        name = self._rng.choice(list(faults))
        self.fired[name] += 1
        return faults[name](query)

    async def _all_meet(self, fault: Fault, seconds: float) -> None:
        self._storm = fault
        try:
            await asyncio.sleep(self._rng.uniform(0.2, 1) * seconds)
        finally:
            self._storm = None

    async def _refuse_connections(self) -> None:
        await self._server.stop()
        try:
            await asyncio.sleep(self._rng.uniform(0.1, 2))
        finally:
            await self._server.start()

    async def _reload(self) -> None:
        for _ in range(5):
            await self._server.stop()
            await self._server.start()
            await asyncio.sleep(0.1)


def _lasting(fault: Fault, seconds: float) -> Callable[[Weather], Awaitable[None]]:
    return lambda weather: weather._all_meet(fault, seconds)  # noqa: SLF001 - a part of it


_STORMS: dict[str, Callable[[Weather], Awaitable[None]]] = {
    "all: connections refused": Weather._refuse_connections,  # noqa: SLF001
    "all: reloads": Weather._reload,  # noqa: SLF001
    "all: 502": _lasting(_plain([reply(b"", "502 X")]), 2),
    "all: silence": _lasting(_plain([End.HANG]), 2),
    "all: web pages": _lasting(_plain([_scripts.page("200 OK")]), 1),
    "all: keys refused": _lasting(_plain([_scripts.error_of("401 X", "bad key")]), 0.2),
    "all: redirected": _lasting(_plain([reply(b"", "302 X", _ELSEWHERE)]), 0.2),
}

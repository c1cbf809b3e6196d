"""The gateway of the soak: single queries meet any fault of the fault matrix, outages meet all."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from ideogram_async import IdeogramClient
from tests.fault_matrix import disruptions as _disruptions
from tests.fault_matrix import scripts as _scripts
from tests.support.raw_server import Choice, End, Play, Query, RawServer, Step, reply
from tests.support.wire_faults import BROKEN, LATE

LATENCY_SECONDS = (0.002, 0.03)
"""The range of a good answer's latency."""
FAULTY_SHARE = 0.15
"""The share of queries that meet a fault of their own."""
REFUSED_SHARE = 0.002
"""The share of queries that are refused, with outages alone: each refusal slows the client much."""
_REDIRECT = "Location: https://elsewhere.example/"

Fault = Callable[[Query], Play]


def _script(choice: Choice) -> Fault:
    """Return a fault that plays a script, with the id of the query in place of the script's own."""

    def play(query: Query) -> Play:
        steps = choice(query) if callable(choice) else choice
        return (
            steps if not isinstance(steps, Iterable) else [_with_id(query, step) for step in steps]
        )

    return play


def _with_id(query: Query, step: Step) -> Step:
    if not isinstance(step, bytes):
        return step
    return step.replace(b'"sick"', b'"%s"' % query.request_id.encode())


def _scripts_of(answers: dict[str, bytes]) -> dict[str, Fault]:
    return {name: _script([answer]) for name, answer in answers.items()}


NEVER_GOOD: dict[str, Fault] = {
    **{name: _script(choice) for name, choice in {**BROKEN, **LATE, **_scripts.CUT}.items()},
    **_scripts_of(_scripts.NOT_DONE),
    **_scripts_of(_scripts.NO_ANSWER),
    **_scripts_of(_scripts.NOT_OURS),
    **_scripts_of(_scripts.TRANSIENT),
    **{
        f"{status} of one id": _script([_scripts.error_of(status, "no such task")])
        for status in ("404 X", "400 X", "422 X")
    },
    "empty list": _script([reply(b'{"sampling_requests":[]}')]),
    "reset": _script([End.RESET]),
    "FIN": _script([End.CLOSE]),
    "HANG": _script([End.HANG]),
}
"""The faults that complete no id, however often they come."""
HEAVY: dict[str, Fault] = {name: _script(choice) for name, choice in _scripts.LARGE.items()}
"""The faults that are expensive for both ends."""
REFUSALS: dict[str, Fault] = {
    "429": _script([reply(b"", "429 X")]),
    "429 with Retry-After": _script([reply(b"", "429 X", "Retry-After: 1")]),
    "503 HTML": _script([_scripts.page("503 X")]),
}
GOOD: dict[str, Fault] = _scripts_of(_scripts.GOOD_ENOUGH)
"""Unusual answers that complete an id."""
OUTAGES: dict[str, tuple[Fault, float]] = {
    "all: 502": (_script([reply(b"", "502 X")]), 2.0),
    "all: silence": (_script([End.HANG]), 2.0),
    "all: web pages": (_script([_scripts.page("200 OK")]), 1.0),
    "all: keys refused": (_script([_scripts.error_of("401 X", "bad key")]), 0.2),
    "all: redirected": (_script([reply(b"", "302 X", _REDIRECT)]), 0.2),
}
"""What all queries meet during an outage, and its longest duration in seconds."""


class FaultyGateway:
    """Chooses what each query meets, and records it."""

    def __init__(self, rng: random.Random, server: RawServer, *, outages: bool) -> None:
        self.faults: Counter[str] = Counter()
        """How often each fault was sent."""
        self.shown_complete: set[str] = set()
        """The ids for which an answer has said that they are complete."""
        self.client: IdeogramClient | None = None
        self.most_in_flight: int = 0
        self._rng = rng
        self._server = server
        self._outage: Fault | None = None
        self._refused = REFUSED_SHARE if outages else 0.0
        extras = dict(_disruptions.EXTRA)
        if not outages:  # a refusal that answers no query looks like one of the key
            del extras["a refusal"]
        self._extras = list(extras.values())
        server.default = self.choose

    def choose(self, query: Query) -> Play:
        """Return the script for a query."""
        if self.client is not None:
            figures = self.client.statistics()
            self.most_in_flight = max(self.most_in_flight, figures.in_flight)
        if self._outage is not None:
            return self._outage(query)
        draw = self._rng.random()
        if draw < self._refused:
            return self._fault(query, REFUSALS)
        if draw < FAULTY_SHARE:
            return self._fault(query, HEAVY if self._rng.random() < 0.005 else NEVER_GOOD)
        return self._answer(query)

    async def have_outages(self) -> None:
        """Have one outage after another, with pauses, until cancelled."""
        outages: dict[str, Callable[[], Awaitable[None]]] = {
            "all: connections refused": self._refuse_connections,
            "all: reloads": self._reload,
            **{name: partial(self._all_meet, *one) for name, one in OUTAGES.items()},
        }
        while True:
            await asyncio.sleep(self._rng.uniform(0.5, 2.5))
            name = self._rng.choice(list(outages))
            self.faults[name] += 1
            await outages[name]()

    def forget(self) -> None:
        """Clear the records of a round."""
        server = self._server
        server.queries.clear()
        server.connections[:] = server.open
        for connection in server.connections:
            connection.queries.clear()
        server.ends.clear()
        self.shown_complete.clear()

    def _answer(self, query: Query) -> Play:
        request_id, rng = query.request_id, self._rng
        answer = self._server.answer(request_id)
        if b'"is_completed": true' in answer:
            self.shown_complete.add(request_id)
            if rng.random() < 0.1:
                return self._fault(query, GOOD)
        wait = rng.uniform(*LATENCY_SECONDS)
        if rng.random() < 0.03:
            self.faults["late extra answer"] += 1
            return [wait, answer, rng.choice([0.0, 0.003, 0.05]), rng.choice(self._extras)]
        if rng.random() < 0.03:
            self.faults["closed after the answer"] += 1
            return [wait, answer, rng.choice([End.CLOSE, End.RESET])]
        return [wait, answer]

    def _fault(self, query: Query, faults: dict[str, Fault]) -> Play:
        name = self._rng.choice(list(faults))
        self.faults[name] += 1
        return faults[name](query)

    async def _all_meet(self, fault: Fault, seconds: float) -> None:
        self._outage = fault
        try:
            await asyncio.sleep(self._rng.uniform(0.2, 1) * seconds)
        finally:
            self._outage = None

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

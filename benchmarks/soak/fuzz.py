"""Random calls over shared ids, in virtual time and real HTTP: `python -m benchmarks.fuzz`.

A seed makes a gateway with faults, a client with random settings, a schedule and hooks that fail,
and callers: runs of lists and of async sources, with repeated ids and with what is no id; waits;
watches; calls that are cancelled, left or dropped at any moment; sometimes the client is closed
under them. It exits with 1

1. if an id is lost, ends twice, or is credited to another,
2. if a call does not end,
3. if a task, a query, an id or a call is left when all callers have ended,
4. if anything raises an unexpected exception or warns,
5. if memory grows from seed to seed.

The longest stall is the most CPU time of one turn of the loop, the gateway's own work included.
`--eager` runs new tasks at once, by Python 3.12's `asyncio.eager_task_factory`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import random
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import msgspec

from benchmarks._report import argument_parser, table
from benchmarks.soak.fuzz_callers import Callers
from ideogram_async import AdaptiveSchedule, FixedInterval, IdeogramClient, Observation
from ideogram_async._polling.lane import REMOVED_KEPT
from ideogram_async._runs.run import RunIterator
from ideogram_async._runs.run_state import RunState
from ideogram_async._runs.single_call import SingleCall
from ideogram_async.testing import DROP, HANG, Fault, Gateway, Query, Reply, VirtualTimeLoop

CALLERS = 30
LONGEST_CALL_SECONDS = 3600.0
"""Virtual seconds after which a call that has not ended is said to hang."""
GROWTH_LIMIT = 3_000
"""Memory blocks by which the last third of many seeds may exceed the middle third."""
MANY_SEEDS = 30
"""Seeds from which growth can be separated from noise."""
_FAULTS: tuple[Fault, ...] = (
    Reply(500),
    Reply(429),
    Reply(429, {"Retry-After": "3"}),
    Reply(200, {}, b"not JSON"),
    DROP,
    HANG,
)


class Outcome(msgspec.Struct):
    """What a seed has shown."""

    seed: int
    problems: list[str]
    handed_in: int = 0
    queries: int = 0
    stall: float = 0.0
    """Milliseconds."""
    blocks: int = 0
    """Memory blocks that Python has allocated, when all of it was over."""


class TimedLoop(VirtualTimeLoop):
    """Virtual time, and the most CPU time that one turn of the loop has taken."""

    longest = 0.0

    def _run_once(self) -> None:
        began = time.process_time()
        super()._run_once()  # type: ignore[misc]
        self.longest = max(self.longest, time.process_time() - began)


class FailingSchedule(FixedInterval):
    """Fails now and then, at each of its methods: it raises, or gives NaN."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__(rng.uniform(0.5, 8.0))
        self._rng = rng

    def start(self, now: float, *, just_submitted: bool) -> tuple[Any, float]:
        """Fail, or return as usual."""
        state, delay = super().start(now, just_submitted=just_submitted)
        return state, self._or_fail(delay)

    def next_delay(self, state: None, seen: Observation) -> float:
        """Fail, or return as usual."""
        return self._or_fail(super().next_delay(state, seen))

    def completed(self, state: None, seen: Observation) -> None:  # noqa: ARG002 - the protocol's
        """Fail, or do nothing."""
        self._or_fail(0.0)

    def expected_end(self, state: None) -> Any:  # noqa: ARG002 - the protocol's
        """Fail, or tell a moment."""
        return self._or_fail(0.0)

    def _or_fail(self, value: float) -> float:
        if self._rng.random() > 0.02:
            return value
        if self._rng.random() < 0.3:
            return math.nan
        raise self._rng.choice([ValueError("mine"), asyncio.CancelledError()])


class Scene:
    """The gateway, the client and the callers of one seed."""

    def __init__(self, seed: int, gateway: Gateway) -> None:
        self._rng = random.Random(f"fuzz {seed}")
        self._gateway = gateway
        self._loop = asyncio.get_running_loop()
        self._ids = [self._submit() for _ in range(24)] + ["unknown-1", "unknown-2"]
        self._sick = set(self._rng.sample(self._ids, self._rng.choice([0, 0, 2])))
        self._share = self._rng.choice([0.0, 0.02, 0.1])
        gateway.on_query = self._fault
        self.client = self._client()
        self.callers = Callers(self._rng, self.client, self._ids)

    async def run(self) -> None:
        """Let all callers come and go, and look at what they have left."""
        problems = self.callers.problems
        calls = [asyncio.ensure_future(self.callers.call()) for _ in range(CALLERS)]
        closes_at = self._rng.uniform(0.0, 40.0) if self._rng.random() < 0.2 else None
        if closes_at is not None:
            await asyncio.sleep(closes_at)
            await self.client.close()
        problems += await _ends(calls)
        calls.clear()
        for _ in range(2):  # what was collected may first have to say so to the loop
            await asyncio.sleep(1.0)
            gc.collect()
        problems += self._left_behind()
        asked = len(self._gateway.queries)
        await asyncio.sleep(200.0)
        if len(self._gateway.queries) > asked:
            problems.append("something is asked, and nobody awaits it")
        await self.client.close()

    def _left_behind(self) -> list[str]:
        """Return what is left of the calls, which have all ended."""
        left = [
            f"a {type(one).__name__} is left"
            for one in gc.get_objects()
            if isinstance(one, RunState | RunIterator | SingleCall)
        ]
        runtime = self.client._runtime  # noqa: SLF001 - no figure shows it
        if runtime is not None:
            registry = runtime.tracker.registry
            jobs = len(registry), registry.pending, registry.failing, len(registry.subscribers)
            if any(jobs) or registry.unasked:
                left.append(f"ids, pending, failing, subscribers are left: {jobs}")
            lanes = [registry.queue._sound, registry.queue._troubled]  # noqa: SLF001 - as above
            if any(len(lane.urgent) > 2 * REMOVED_KEPT or lane._lanes for lane in lanes):  # noqa: SLF001
                left.append("removed jobs or lanes are left")
        return left

    def _submit(self) -> str:
        return self._gateway.submit(
            duration=self._rng.choice([0.0, self._rng.uniform(0.0, 60.0)]),
            progress=self._rng.choice(["text", "linear", "absent", "steps", "never", "errored"]),
            errored=self._rng.random() < 0.1,
            submitted=self._loop.time() - self._rng.choice([0.0, 30.0]),
        )

    def _fault(self, query: Query) -> Fault | None:
        is_sick = query.request_id in self._sick
        if is_sick or self._rng.random() < self._share:
            return self._rng.choice(_FAULTS)
        return None

    def _client(self) -> IdeogramClient:
        rng = self._rng
        schedules: list[Any] = [
            AdaptiveSchedule(),
            FixedInterval(rng.uniform(1.0, 9.0)),
            FailingSchedule(rng),
        ]
        return IdeogramClient(
            self._gateway.url,
            schedule=rng.choice(schedules),
            hooks=[self._hook],
            max_in_flight=rng.choice([1, 4, 20, 200]),
            max_rate=rng.choice([None, None, 3.0, 30.0]),
            max_faults=rng.choice([None, 4]),
            deadline=100.0,
            attempt_timeout=5.0,
        )

    def _hook(self, _: object) -> None:
        if self._rng.random() < 0.05:
            raise self._rng.choice([ValueError("mine"), asyncio.CancelledError()])


async def _ends(calls: Sequence[asyncio.Future[None]]) -> list[str]:
    """Wait until all calls have ended; return what is wrong with how they did."""
    done, hung = await asyncio.wait(calls, timeout=LONGEST_CALL_SECONDS)
    problems = [f"a call hangs: {one!r}" for one in hung]
    for one in hung:
        one.cancel()
    for one in done:
        if one.cancelled():
            problems.append(f"a call was cancelled, by nobody: {one!r}")
        elif (error := one.exception()) is not None:
            problems.append(f"a call raised {error!r}")
    return problems


async def _play(seed: int, outcome: Outcome, *, eager: bool) -> None:
    loop = asyncio.get_running_loop()
    if eager:
        factory: Any = asyncio.eager_task_factory  # type: ignore[attr-defined,unused-ignore]
        loop.set_task_factory(factory)
    loop.set_exception_handler(
        lambda _, told: outcome.problems.append(f"{told['message']}: {told.get('exception')!r}")
    )
    async with Gateway(latency=(0.02, 0.3), seed=seed) as gateway:
        scene = Scene(seed, gateway)
        await scene.run()
        outcome.problems += scene.callers.problems
        outcome.handed_in = scene.callers.handed_in
        outcome.queries = len(gateway.queries)
    left = asyncio.all_tasks() - {asyncio.current_task()}
    outcome.problems += [f"a task is left: {task!r}" for task in left]


def fuzz(seed: int, *, eager: bool = False) -> Outcome:
    """Play a seed, and return what it has shown."""
    outcome = Outcome(seed, [])
    random.seed(seed)  # the library's own draws
    gc.collect()  # what an earlier seed or test has left must not warn here
    with (
        warnings.catch_warnings(record=True) as warned,
        asyncio.Runner(loop_factory=TimedLoop) as runner,
    ):
        warnings.simplefilter("always")
        runner.run(_play(seed, outcome, eager=eager))
        loop = runner.get_loop()
        assert isinstance(loop, TimedLoop)
        outcome.stall = loop.longest * 1e3
        gc.collect()
    outcome.problems += [f"warns: {one.message}" for one in warned]
    outcome.blocks = sys.getallocatedblocks()
    return outcome


def growth(outcomes: Sequence[Outcome]) -> float:
    """Return by how many blocks the last third of the seeds exceeds the middle third."""
    third = len(outcomes) // 3
    last, middle = outcomes[2 * third :], outcomes[third : 2 * third]
    return statistics.median(one.blocks for one in last) - statistics.median(
        one.blocks for one in middle
    )


def main(given: Sequence[str] | None = None) -> bool:
    """Play so many seeds, print what they have shown, and return whether all of it is well."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first of the seeds")
    parser.add_argument("--eager", action="store_true", help="run new tasks at once")
    arguments = parser.parse_args(given)
    logging.getLogger("ideogram_async").setLevel(logging.CRITICAL + 1)  # it would tell each failure
    outcomes = []
    for seed in range(arguments.first, arguments.first + arguments.seeds):
        outcomes.append(fuzz(seed, eager=arguments.eager))
        for problem in outcomes[-1].problems:
            print(f"seed {seed}: {problem}", flush=True)
    worst = max(outcomes, key=lambda one: one.stall)
    head = ("seeds", "calls", "ids", "queries", "problems", "longest stall", "in seed")
    figures: list[float] = [len(outcomes), CALLERS * len(outcomes)]
    figures += [sum(one.handed_in for one in outcomes), sum(one.queries for one in outcomes)]
    figures.append(sum(len(one.problems) for one in outcomes))
    row = [*(f"{one:,d}" for one in figures), f"{worst.stall:.0f} ms", str(worst.seed)]
    print("\n".join(table(head, [row])))
    grown = growth(outcomes) if len(outcomes) >= MANY_SEEDS else 0
    if grown:
        print(f"growth: {grown:+.0f} memory blocks")
    return not any(one.problems for one in outcomes) and grown <= GROWTH_LIMIT


if __name__ == "__main__":
    sys.exit(not main())

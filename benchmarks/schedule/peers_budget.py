"""200 requests under a budget of queries: `python -m benchmarks.peers_budget`.

200 requests are submitted at once, and take 5 to 25 s each; the gateway allows 200 queries in any
10 s. The whole client polls over real HTTP in virtual time, with `max_rate` and without. The same
test was made with other clients. "no max_rate, known at once" shows what the best learner could
reach: it begins as the client does, and knows the limit exactly from the first refusal on. The
other rows measure the schedule with steady arrivals. Seeds are fixed. One client has the whole
budget here; real clients share it.
"""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import anyio

from benchmarks._report import argument_parser
from ideogram_async import AdaptiveSchedule, FixedInterval, IdeogramClient, Limiter, Schedule
from ideogram_async._limits.found_rate import FoundRate
from ideogram_async.testing import Gateway, ProgressKind, SlidingWindow, run_in_virtual_time


class KnownAtOnce(FoundRate):
    """A learner that knows the limit, 20 queries per second, from the first refusal on."""

    def _cut(self, now: float, until: float) -> None:  # noqa: ARG002 - nothing is measured
        self.adopt(20.0, "found", now)

    def _grow(self, seconds: float) -> None:
        if self.source == "none":
            super()._grow(seconds)


class Outcome(NamedTuple):
    """What one run cost, and how late its results came."""

    lags: list[float]
    """Seconds from a request's completion to its result."""
    queries: int
    refused: int

    @property
    def figures(self) -> dict[str, float]:
        """The figures of the table: results, lags in seconds, queries, and % refused."""
        lags = sorted(self.lags)
        return {
            "done": len(lags),
            "mean": statistics.fmean(lags),
            "median": statistics.median(lags),
            "p95": lags[int(0.95 * len(lags))],
            "max": lags[-1],
            "queries": self.queries,
            "refused": 100 * self.refused / self.queries,
        }


async def budget(
    seed: int,
    *,
    rate: float | None,
    progress: ProgressKind = "linear",
    schedule: Schedule[Any] | None = None,
    limiter: Limiter | None = None,
) -> Outcome:
    """Poll 200 requests that were submitted at once."""
    random.seed(seed)
    rng = random.Random(seed)
    async with (
        Gateway(latency=(0.05, 0.3), limit=SlidingWindow(200, 10), seed=seed) as gateway,
        IdeogramClient(
            gateway.url, max_in_flight=50, max_rate=rate, schedule=schedule, limiter=limiter
        ) as client,
    ):
        ids = [gateway.submit(duration=rng.uniform(5, 25), progress=progress) for _ in range(200)]
        lags = await _lags(gateway, client, ids)
        return Outcome(lags, len(gateway.queries), gateway.refused)


async def steady(seed: int, *, arrivals: float, seconds: float = 300) -> Outcome:
    """Poll requests that arrive at random, with `max_rate=20`."""
    random.seed(seed)
    rng = random.Random(seed)
    async with (
        Gateway(latency=(0.05, 0.3), limit=SlidingWindow(200, 10), seed=seed) as gateway,
        IdeogramClient(gateway.url, max_in_flight=50, max_rate=20) as client,
    ):

        async def submitted() -> Any:
            for _ in range(int(arrivals * seconds)):
                await anyio.sleep(rng.expovariate(arrivals))
                yield gateway.submit(duration=rng.uniform(5, 25), progress="linear")

        lags = await _lags(gateway, client, submitted())
        return Outcome(lags, len(gateway.queries), gateway.refused)


async def arrivals(
    seed: int, *, schedule: Schedule[Any] | None = None, count: int = 2000
) -> Outcome:
    """Poll default requests (median 14 s, log-sigma 0.4), one every 0.1 s, without a limit."""
    random.seed(seed)
    rng = random.Random(seed)
    async with (
        Gateway(latency=(0.05, 0.3), seed=seed) as gateway,
        IdeogramClient(
            gateway.url, max_in_flight=200, max_rate=math.inf, schedule=schedule
        ) as client,
    ):

        async def submitted() -> Any:
            for _ in range(count):
                await anyio.sleep(0.1)
                duration, queue = 14 * math.exp(rng.gauss(0, 0.4)), rng.expovariate(1 / 2)
                yield gateway.submit(duration=duration, queue=queue, progress="linear")

        lags = await _lags(gateway, client, submitted())
        return Outcome(lags, len(gateway.queries), gateway.refused)


async def _lags(gateway: Gateway, client: IdeogramClient, ids: Any) -> list[float]:
    return [
        anyio.current_time() - gateway.completes_at(str(request.request_id))
        async for request in client.as_completed(ids, just_submitted=True)
    ]


async def trained(seed: int) -> Outcome:
    """Poll 200 requests with a schedule that has learned from such a batch."""
    schedule = AdaptiveSchedule()
    await budget(seed + 50, rate=20, schedule=schedule)
    return await budget(seed, rate=20, schedule=AdaptiveSchedule(learned=schedule.save()))


Run = Callable[[int], Coroutine[Any, Any, Outcome]]

ROWS: dict[str, tuple[Run, dict[str, float]]] = {
    "max_rate=20": (
        lambda seed: budget(seed, rate=20),
        {"mean": 0.8, "p95": 3.0, "max": 9, "refused": 0.2, "queries": 550},
    ),
    "no max_rate": (
        lambda seed: budget(seed, rate=None),
        {"mean": 2.0, "p95": 7.2, "refused": 2.6},
    ),
    "no max_rate, known at once": (
        lambda seed: budget(seed, rate=None, limiter=KnownAtOnce()),
        {},
    ),
    "max_rate=20, trained on such a batch": (trained, {"mean": 0.8}),
    "max_rate=20, progress absent": (
        lambda seed: budget(seed, rate=20, progress="absent"),
        {"mean": 4.2},
    ),
    "max_rate=20, stuck at 99": (
        lambda seed: budget(seed, rate=20, progress="stuck"),
        {"mean": 4.0},
    ),
    "steady 5 per second": (
        lambda seed: steady(seed, arrivals=5),
        {"mean": 0.17, "p95": 0.5},
    ),
    "default requests, no limit": (arrivals, {"mean": 0.25, "queries": 9_400}),
    "the same, fixed 0.6 s": (lambda seed: arrivals(seed, schedule=FixedInterval(0.6)), {}),
    "steady 10 per second": (lambda seed: steady(seed, arrivals=10), {"mean": 1.2}),
}
"""Each row's run, and the highest mean of a figure that keeps its goal."""


def main() -> None:
    """Run every row with each seed, and print the means beside their goals."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="how many (default 5)")
    parser.add_argument("--first", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--only", help="run one row")
    arguments = parser.parse_args()
    for name, (run, goals) in ROWS.items():
        if arguments.only in {None, name}:
            seeds = range(arguments.first, arguments.first + arguments.seeds)
            outcomes = [run_in_virtual_time(run, seed).figures for seed in seeds]
            print_row(name, outcomes, goals)


def print_row(name: str, outcomes: list[dict[str, float]], goals: dict[str, float]) -> None:
    """Print one row: the mean of each figure over the seeds, and whether it keeps its goal."""
    print(name)
    for figure in outcomes[0]:
        values = [outcome[figure] for outcome in outcomes]
        mean, limit = statistics.fmean(values), goals.get(figure)
        verdict = ""
        if limit is not None:
            verdict = f"goal: at most {limit:g}: {'holds' if mean <= limit else 'FAILS'}"
        print(f"  {figure:8} {mean:9.2f}   ({min(values):.2f} to {max(values):.2f})   {verdict}")


if __name__ == "__main__":
    main()

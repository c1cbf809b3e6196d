"""The queries that a schedule needs for a lag: `python -m benchmarks.schedule`.

A simulation of the library's own schedules, without HTTP, with seeds on which they were not tuned.
The lag is the time from a request's completion to the answer that shows it. The best fixed interval
is the best in hindsight: the one with the same mean lag. Beside it stand a policy that knows the
laws of the jobs, and a reference that is told more than an answer tells.

About bias. For the adaptive schedule: its law is lognormal, and so are the jobs' runs. Against it:
queues of which it knows nothing, an overload that grows while it learns, misleading progress, and
cold starts, which all count.

Writes `schedule.json`, and `schedule.png` where matplotlib is installed.
"""

from __future__ import annotations

import argparse
import math
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks._report import argument_parser, report, say, write
from benchmarks._report import figure as new_figure
from benchmarks.schedule.goals import Evidence, judge
from benchmarks.schedule.informed import poll_informed
from benchmarks.schedule.optimistic import plan
from benchmarks.schedule.simulation import Curve, always, optimum, poll_blindly, simulate
from benchmarks.schedule.workloads import DURATION_LAW, PROGRESS, WORKLOADS, workload
from ideogram_async._schedules.adaptive import AdaptiveSchedule

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.schedule.simulation import Outcome

    Delay = Callable[[int, random.Random], float]

DEFAULT_PRICE = 0.05
SEEDS = (21, 22, 23)
PRICES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
BOUND_PRICES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
FIXED = (0.02, 0.05, 0.1, 0.2, 0.35, 0.5, 0.7, 1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.0, 16.0)
OTHERS: dict[str, Delay] = {
    "exponential 1 to 20 s": lambda n, _: min(2.0**n, 20.0),
    "runway, 6 ± 1.5 s": lambda _, rng: rng.uniform(4.5, 7.5),
    "fal, 0.1 s": lambda _n, _rng: 0.1,
    "replicate, 0.5 s": lambda _n, _rng: 0.5,
}


class Point(msgspec.Struct, frozen=True):
    """The cost of one policy on one workload."""

    policy: str
    setting: float | None
    workload: str
    progress: str
    seed: int
    lag: float
    """The mean, in seconds."""
    lag_p95: float
    """The 95th percentile, in seconds."""
    polls: float
    """Queries per request."""


def blind(task: tuple[str, int, int]) -> list[Point]:
    """Measure the policies that use no answer; the kind of progress makes no difference to them."""
    name, seed, n = task
    work = workload(name, seed, n)
    policies: list[tuple[str, float | None, Delay]]
    policies = [("fixed", interval, always(interval)) for interval in FIXED]
    policies += [(policy, None, delay) for policy, delay in OTHERS.items()]
    points = []
    for policy, setting, delay in policies:
        cost = poll_blindly(work, delay)
        points.append(Point(policy, setting, name, "any", seed, *_figures(cost)))
    return points


def adaptive(task: tuple[str, str, int, int]) -> list[Point]:
    """Measure ours at each price, from a cold start."""
    name, progress, seed, n = task
    work = workload(name, seed, n)
    points = []
    for price in PRICES:
        cost = simulate(AdaptiveSchedule(price), work, progress)
        points.append(Point("ours", price, name, progress, seed, *_figures(cost)))
    return points


def informed(task: tuple[str, int, int]) -> list[Point]:
    """Measure the policy that knows the laws, on linear progress."""
    name, seed, n = task
    work = workload(name, seed, n)
    return [
        Point("informed", price, name, "linear", seed, *_figures(poll_informed(work, price)))
        for price in PRICES
    ]


def optimistic(name: str) -> list[Point]:
    """Return the reference that is told more than an answer tells, on linear progress."""
    costs = [(price, plan(name, price)) for price in PRICES]
    return [
        Point("optimistic", price, name, "linear", 0, lag, math.nan, polls)
        for price, (lag, polls) in costs
    ]


def _figures(cost: Outcome) -> tuple[float, float, float]:
    return cost.mean_lag, cost.percentile(0.95), cost.mean_polls


def measure(seeds: Sequence[int], n: int, processes: int) -> list[Point]:
    """Measure every policy on every workload, kind of progress and seed."""
    plain = [(name, seed, n) for name in WORKLOADS for seed in seeds]
    by_progress = [
        (name, kind, seed, n) for name in WORKLOADS for kind in PROGRESS for seed in seeds
    ]
    with ProcessPoolExecutor(processes) as pool:
        parts = [
            *pool.map(blind, plain),
            *pool.map(adaptive, by_progress),
            *pool.map(informed, [(name, seed, n // 5) for name in DURATION_LAW for seed in seeds]),
            *pool.map(optimistic, DURATION_LAW),
        ]
    return [point for part in parts for point in part]


def table(points: Sequence[Point]) -> Iterator[str]:
    """Yield the queries and the lag at each price, and the ratio to the best fixed interval's."""
    for kind in PROGRESS:
        yield f"\nProgress {kind}: price → queries at a mean lag (x the best fixed interval's)"
        for name in WORKLOADS:
            fixed = _curve(points, "fixed", name, "any")
            cells = []
            for lag, polls in reversed(_curve(points, "ours", name, kind).points):
                cells.append(f"{polls:5.1f} at {lag:4.2f} s ({polls / fixed.polls(lag):4.2f})")
            yield f"  {name}  " + " · ".join(reversed(cells))
    yield "\nLinear progress, by price: J = lag + price x queries, and x that of who knows more"
    for name in DURATION_LAW:
        costs = [_costs_of(points, policy, name) for policy in ("ours", "informed", "optimistic")]
        cells = [
            f"{ours:5.3f} ({ours / informed:4.2f} x the laws', {ours / most:4.2f} x optimistic)"
            for ours, informed, most in zip(*costs, strict=True)
        ]
        yield f"  {name}  " + " · ".join(cells)
    yield "\nThe policies that use no answer: queries at a mean lag (x the best fixed interval's)"
    for name in WORKLOADS:
        fixed = _curve(points, "fixed", name, "any")
        for policy in OTHERS:
            lag, polls = _curve(points, policy, name, "any").points[0]
            ratio = polls / fixed.polls(lag)
            yield f"  {name}  {policy:22} {polls:6.1f} at {lag:5.2f} s ({ratio:4.2f})"


def _costs_of(points: Sequence[Point], policy: str, name: str) -> list[float]:
    """Return J on linear progress, at each price, over all seeds."""
    key = (policy, name, "linear")
    mine = [one for one in points if (one.policy, one.workload, one.progress) == key]
    return [
        fmean(one.lag + price * one.polls for one in mine if one.setting == price)
        for price in PRICES
    ]


def _curve(points: Sequence[Point], policy: str, name: str, kind: str) -> Curve:
    """Return the curve of a policy, over all seeds."""
    settings: dict[float | None, list[Point]] = {}
    for point in points:
        if (point.policy, point.workload, point.progress) == (policy, name, kind):
            settings.setdefault(point.setting, []).append(point)
    return Curve(
        (sum(p.lag for p in some) / len(some), sum(p.polls for p in some) / len(some))
        for some in settings.values()
    )


def plot(points: Sequence[Point], path: Path) -> None:
    """Draw queries against lag, without progress and with it."""
    figure = new_figure(width=19, height=8)
    kinds = ("absent", "linear")
    axes = figure.subplots(len(kinds), len(WORKLOADS), sharex=True, sharey="row")
    for kind, row in zip(kinds, axes, strict=True):
        for name, ax in zip(WORKLOADS, row, strict=True):
            _panel(ax, points, name, kind)
    axes[0][0].legend(fontsize=8)
    figure.suptitle("Queries per request against mean lag: lower left is better")
    figure.savefig(path, dpi=110)


def _panel(ax: Any, points: Sequence[Point], name: str, kind: str) -> None:
    lines = [("fixed intervals", "fixed", "any", "o-"), ("adaptive, by price", "ours", kind, "s-")]
    for label, policy, shown, style in lines:
        ax.plot(*zip(*_curve(points, policy, name, shown).points, strict=True), style, label=label)
    if kind == "linear" and name in DURATION_LAW:
        for policy, style, label in (
            ("informed", "k--", "knows the laws"),
            ("optimistic", "k:", "optimistic reference"),
        ):
            known = _curve(points, policy, name, kind).points
            ax.plot(*zip(*known, strict=True), style, label=label)
    if kind == "absent" and name in DURATION_LAW:
        bound = optimum(name, BOUND_PRICES).points
        ax.plot(*zip(*bound, strict=True), "k--", label="Barlow-Proschan bound")
    for policy, marker in zip(OTHERS, "^v*D", strict=True):
        ax.plot(*_curve(points, policy, name, "any").points[0], marker, ms=9, label=policy)
    ax.set(xscale="log", yscale="log", title=f"{name}, progress {kind}")
    ax.set(xlabel="mean lag, s", ylabel="queries per request")
    ax.grid(visible=True, which="both", alpha=0.2)


def _arguments() -> argparse.Namespace:
    parser = argument_parser(__doc__, output=True)
    parser.add_argument("--quick", action="store_true", help="one seed, 1,000 jobs a workload")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of 21 to 23")
    parser.add_argument("--jobs", type=int, help="a workload's, instead of 5,000")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    return parser.parse_args()


def main() -> None:
    """Measure, print, and write."""
    arguments = _arguments()
    seeds, n = (SEEDS[:1], 1000) if arguments.quick else (SEEDS, 5000)
    seeds, n = arguments.seeds or seeds, arguments.jobs or n
    points = measure(seeds, n, arguments.processes)
    curves = [_by_seed(points, seed) for seed in seeds]
    bounds = {name: optimum(name, BOUND_PRICES) for name in DURATION_LAW}
    goals = judge(Evidence(curves, _worst_p95(points), bounds, seeds, _by_informed(points)))
    say((*table(points), *report(goals, "Goals (the worst of all seeds)")))
    document = {"goals": goals, "points": points}
    write(arguments.output, "schedule", document, lambda path: plot(points, path))


def _by_seed(points: Sequence[Point], seed: int) -> dict[tuple[str, str, str], Curve]:
    """Return one seed's curves, by policy, workload and progress."""
    mine = [point for point in points if point.seed == seed]
    keys = {(point.policy, point.workload, point.progress) for point in mine}
    return {key: _curve(mine, *key) for key in keys}


def _worst_p95(points: Sequence[Point]) -> list[tuple[float, float, float]]:
    """Return mean lag, 95th percentile and queries at the default price on linear A to D."""
    return [
        (point.lag, point.lag_p95, point.polls)
        for point in points
        if point.policy == "ours"
        and (point.setting, point.progress) == (DEFAULT_PRICE, "linear")
        and point.workload != "E"
    ]


def _by_informed(points: Sequence[Point]) -> dict[str, float]:
    """Return J = lag + price x queries at the default price, by that of the informed policy."""
    place = PRICES.index(DEFAULT_PRICE)
    return {
        name: _costs_of(points, "ours", name)[place] / _costs_of(points, "informed", name)[place]
        for name in DURATION_LAW
    }


if __name__ == "__main__":
    main()

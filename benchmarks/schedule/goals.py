"""The goals of the adaptive schedule, each with its measured figure."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks._report import Goal, goal
from benchmarks.schedule.regimes import WITHOUT_LINES, costs
from benchmarks.schedule.simulation import MEAN_ROUND_TRIP_SECONDS, Curve, simulate
from benchmarks.schedule.workloads import DURATION_LAW, PROGRESS, WORKLOADS, Workload, workload
from ideogram_async._models import SamplingRequest
from ideogram_async._schedules.adaptive import AdaptiveSchedule
from ideogram_async._schedules.base import Observation
from ideogram_async._schedules.request_state import JobState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


class Evidence(msgspec.Struct, frozen=True):
    """The measured curves: each seed's by (policy, workload, progress), and the bounds."""

    curves: Sequence[Mapping[tuple[str, str, str], Curve]]
    default_price: Sequence[tuple[float, float, float]]
    """Mean lag, 95th percentile and queries at price 0.05 on linear A to D."""
    bounds: Mapping[str, Curve]
    seeds: Sequence[int]
    by_informed: Mapping[str, float]
    """J at price 0.05 on linear progress, by that of the policy that knows the laws."""

    def ratio(self, names: Iterable[str], kind: str, least: float, most: float) -> float:
        """Return the worst ratio to the best fixed interval's queries at the same mean lag."""
        return max(
            _ratio(curves["ours", name, kind], curves["fixed", name, "any"], least, most)
            for curves in self.curves
            for name in names
        )

    def bound_ratio(self, name: str) -> float:
        """Return the worst ratio to the bound."""
        bound = self.bounds[name]
        ours = (curves["ours", name, "absent"] for curves in self.curves)
        return max(_ratio(curve, bound, 0.5, 2.0) for curve in ours)


def _ratio(ours: Curve, other: Curve, least: float, most: float) -> float:
    """Return the worst ratio at nine lags from `least` to `most`, where both were measured."""
    least = max(least, ours.lags[0], other.lags[0])
    most = min(most, ours.lags[1], other.lags[1])
    lags = (least * (most / least) ** (i / 8) for i in range(9))
    return max(ours.polls(lag) / other.polls(lag) for lag in lags)


def judge(evidence: Evidence) -> list[Goal]:
    """Return all goals with their figures."""
    goals = [
        *_curves(evidence),
        *_default_price(evidence),
        *_robustness(evidence),
        *_changes(),
        *_costs(),
    ]
    return [goal(*one) for one in goals]


def _curves(evidence: Evidence) -> Iterator[tuple[str, float, float]]:
    ratio, most = evidence.ratio, 1e9
    fixed = "x the best fixed interval's queries"
    yield f"1 absent, A to D, lag 0.5 to 2 s: {fixed}", ratio("ABCD", "absent", 0.5, 2), 0.80
    yield f"1 absent, E, lag 0.5 to 2 s: {fixed}", ratio("E", "absent", 0.5, 2), 0.80
    for name in evidence.bounds:
        yield f"1 absent, {name}: x the Barlow-Proschan bound", evidence.bound_ratio(name), 1.2
    yield f"2 linear, A, lag ≤ 1 s: {fixed}", ratio("A", "linear", 0, 1), 0.38
    for name, limit in (("B", 0.27), ("C", 0.18), ("D", 0.28)):
        yield f"2 linear, {name}, lag ≤ 1 s: {fixed}", ratio(name, "linear", 0, 1), limit
    for name, figure in evidence.by_informed.items():
        yield f"2 linear, {name}, price 0.05: J x that of a policy that knows the laws", figure, 1.1
    for kind, limit in (("steps", 0.5), ("stuck at 99", 0.55), ("mix", 0.65)):
        yield f"3 {kind}, lag 0.6 to 1 s: {fixed}", ratio(WORKLOADS, kind, 0.6, 1), limit
    yield f"3 lying, lag ≥ 1 s: {fixed}", ratio(WORKLOADS, "lying", 1, most), 0.9
    anywhere = max(ratio(WORKLOADS, kind, 0, most) for kind in PROGRESS)
    yield f"3 anything, anywhere: {fixed}", anywhere, 1.2


def _default_price(evidence: Evidence) -> Iterator[tuple[str, float, float]]:
    lags, late, polls = zip(*evidence.default_price, strict=True)
    yield "4 linear, A to D, price 0.05: mean lag, s", max(lags), 0.31
    yield "4 linear, A to D, price 0.05: 95th percentile of the lag, s", max(late), 0.7
    yield "4 linear, A to D, price 0.05: queries", max(polls), 5.7


def _robustness(evidence: Evidence) -> Iterator[tuple[str, float, float]]:
    seeds = evidence.seeds
    yield "5 hung for 600 s: queries", max(_hung(seed) for seed in seeds), 100
    excess = max(_resumed(name, seed) for name in DURATION_LAW for seed in seeds)
    yield "5 resumed, a clock off by 300 s: mean lag beyond that of fresh ones, s", excess, 1.0
    for what, trained in (("of a cold start", None), ("of a new kind, in a trained schedule", "B")):
        ratio = max(
            _first_ten(name, kind, trained, evidence.curves[0]["fixed", name, "any"])
            for name in ("ABCD" if trained is None else "AC")
            for kind in PROGRESS
        )
        yield f"5 the first ten jobs {what}: x the best fixed interval's queries", ratio, 1.25


def _changes() -> Iterator[tuple[str, float, float]]:
    """Yield what a change of the jobs costs, by what it cost a schedule without lines."""
    now = {name: costs(name) for name in DURATION_LAW}
    for change, former in WITHOUT_LINES.items():
        first, later = (
            [now[name][change][part] / former[name][part] for name in former] for part in (0, 1)
        )
        what = f"6 from linear to {change}: J x that without lines"
        yield f"{what}, the next 20 jobs, the worst of A to C", max(first), 1.45
        yield f"{what}, the 100 jobs after, the mean of A to C", sum(later) / len(later), 1.02


def _trained(name: str, kind: str, seed: int) -> AdaptiveSchedule:
    schedule = AdaptiveSchedule()
    simulate(schedule, workload(name, seed, 1000), kind)
    return schedule


def _hung(seed: int) -> int:
    """Return the queries of a job whose answers stay the same for ten minutes, at the worst."""
    trained = [_trained(name, kind, seed) for name in DURATION_LAW for kind in ("absent", "linear")]
    return max(
        _queries_in_600_s(schedule, shown)
        for schedule in (AdaptiveSchedule(), *trained)
        for shown in (None, 0, 50, 99)
    )


def _queries_in_600_s(schedule: AdaptiveSchedule, shown: int | None) -> int:
    state, now = schedule.start(0.0, just_submitted=True)
    started = None if shown is None else True
    record = SamplingRequest(completion_percentage=shown, has_started=started)
    n = 0
    while now < 600:
        seen = Observation(now, now + MEAN_ROUND_TRIP_SECONDS, 0.0, record, None)
        now = seen.answered + schedule.next_delay(state, seen)
        n += 1
    return n


def _resumed(name: str, seed: int) -> float:
    """Return by how much the lag of jobs polled from a random age on exceeds that of fresh ones.

    The gateway's clock is wrong by 300 s, in either direction; the worst case counts.
    """
    work = workload(name, seed + 1000, 1000)
    ages = [(job.queue + job.run) * job.quirk for job in work.jobs]
    worst = 0.0
    for kind in ("absent", "linear"):
        schedule = _trained(name, kind, seed)
        fresh = simulate(_trained(name, kind, seed), work, kind).mean_lag
        for clock in (-300.0, 300.0):
            lag = simulate(schedule, work, kind, resumed=ages, clock=clock).mean_lag
            worst = max(worst, lag - fresh)
    return worst


def _first_ten(name: str, kind: str, trained: str | None, fixed: Curve) -> float:
    """Return the queries of a schedule's first ten jobs, by those of the best fixed interval.

    300 schedules are measured, each cold, or trained on another kind of request.
    """
    learned = None if trained is None else _trained(trained, kind, 1).save()
    costs = [
        simulate(AdaptiveSchedule(learned=learned), workload(name, 20_000 + seed, 10), kind)
        for seed in range(300)
    ]
    lag = sum(cost.mean_lag for cost in costs) / len(costs)
    return sum(cost.mean_polls for cost in costs) / len(costs) / fixed.polls(lag)


class _Recorder(AdaptiveSchedule):
    """Records the arguments of its decisions, which are then repeated and timed."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[bytes, Observation]] = []

    def next_delay(self, state: JobState, seen: Observation) -> float:
        self.calls.append((state.packed, seen))
        return super().next_delay(state, seen)


def _costs() -> Iterator[tuple[str, float, float]]:
    work = workload("D", 1, 1000)
    yield "7 a decision, microseconds, progress absent", _decision(work, "absent"), 8.0
    yield "7 a decision, microseconds, progress linear", _decision(work, "linear"), 8.0
    schedule = AdaptiveSchedule()
    state, _ = schedule.start(1e6, just_submitted=True)
    record = SamplingRequest(completion_percentage=50)
    schedule.next_delay(state, Observation(1e6 + 5, 1e6 + 5.1, 0.0, record, None))
    size = sys.getsizeof(state) + sys.getsizeof(state.packed)
    yield "7 the state of a job, bytes", size, 150


def record_decisions(work: Workload, kind: str) -> _Recorder:
    """Return a schedule with the arguments of its decisions."""
    recorder = _Recorder()
    simulate(recorder, work, kind)
    return recorder


def repeat_decisions(recorder: _Recorder) -> None:
    """Repeat the decisions, each with the state that it had."""
    decide = super(_Recorder, recorder).next_delay
    for packed, seen in recorder.calls:
        decide(JobState(packed), seen)


def _decision(work: Workload, kind: str) -> float:
    """Return the CPU time of a decision in microseconds: the best of five rounds."""
    recorder, rounds = record_decisions(work, kind), []
    for _ in range(5):
        begun = time.process_time()
        repeat_decisions(recorder)
        rounds.append(time.process_time() - begun)
    return min(rounds) / len(recorder.calls) * 1e6

"""Whose turn it is: a person's call first, runs in turn, and within a run the earliest first."""

from __future__ import annotations

import asyncio
import gc
import heapq
import math
from collections.abc import Iterable
from typing import Any
from weakref import WeakSet

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async._polling.calendar_queue import CalendarQueue
from ideogram_async._polling.job import ANSWERED, EXPECTED, IMMEDIATE, ORDINARY, Job
from ideogram_async._polling.job_queue import JobQueue
from ideogram_async._polling.lane import Lane
from ideogram_async._polling.ready_queue import ReadyQueue
from ideogram_async._runs.id_set import IdSet
from ideogram_async.testing import Gateway
from tests.support.raw_server import RawServer

BACKGROUND = 20_000


class _Owner:
    """A stand-in subscriber: the queue asks whether it is urgent, and no more."""

    def __init__(self, *, urgent: bool = False) -> None:
        self.urgent = urgent


def _job(owner: Any, number: int, release: float, order: float | None = None) -> Job:
    rank = release if order is None else order
    return Job(rank, f"id-{number}", number, owner, None, release, IMMEDIATE)


def test_one_whose_end_is_sure_and_has_passed_goes_first() -> None:
    """Before its end it has its place by the deadline; after it, it goes before all others."""
    owner, lane = _Owner(), Lane()
    for number, (order, precedence) in enumerate(
        [(3.0, ORDINARY), (1.0, ORDINARY), (2.0, IMMEDIATE), (5.0, EXPECTED), (4.0, EXPECTED)]
    ):
        job = _job(owner, number, 0.0, order)
        job.precedence = precedence
        lane.admit(job)
    popped = [lane.pop(now) for now in (1.0, 4.5, 4.5, 5.5, 5.5, 5.5)]
    assert [None if job is None else job.order for job in popped] == [1.0, 4.0, 2.0, 5.0, 3.0, None]


@pytest.mark.parametrize("count", [5, 5_000])
def test_due_jobs_are_counted(count: int) -> None:
    """Released ones count whose deadline is near; of many that come in no order, about as many."""
    queue, runs = JobQueue(), [_Owner(), _Owner(urgent=True)]
    for number in range(count):
        for precedence, (release, order) in enumerate([(0.0, 3.0), (0.0, 1.0), (0.0, 9.0)]):
            job = _job(runs[number % 2], number, release, order + 0.9 * (number * 7 % 10) / 10)
            job.precedence = precedence
            queue.add(job, 1.0)
        queue.add(_job(runs[0], number, 5.0), 1.0)
    immediate, sure, near = count, count, count
    assert queue.count_due(0.5) == pytest.approx(immediate + sure, rel=0.02)
    assert queue.count_due(2.0) == pytest.approx(immediate + sure + near, rel=0.02)


def _drain(job_queue: JobQueue, now: float) -> list[Job]:
    jobs = []
    while (job := job_queue.pop(now)) is not None:
        jobs.append(job)
    return jobs


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100), st.integers(0, 3)), max_size=60))
def test_released_jobs_come_by_deadline_within_their_lane(
    told: list[tuple[float, float, int]],
) -> None:
    """Whatever is put in, each lane gives its released jobs by deadline, and none early."""
    job_queue, owners = JobQueue(), [_Owner() for _ in range(4)]
    jobs = [_job(owners[o], n, release, order) for n, (release, order, o) in enumerate(told)]
    for job in jobs:
        job_queue.add(job, 0.0)
    seen: list[Job] = []
    for now in (0.0, 33.0, 66.0, 100.0):
        batch = _drain(job_queue, now)
        assert job_queue.next_time(now) > now
        assert all(job.release <= now for job in batch)
        for owner in owners:
            orders = [job.order for job in batch if job.owner is owner]  # type: ignore[comparison-overlap]
            assert orders == sorted(orders)
        seen += batch
    assert {job.request_id for job in seen} == {job.request_id for job in jobs}
    assert len(seen) == len(jobs)


def test_lanes_take_turns() -> None:
    """A run of a few is not made to wait for a run of many."""
    job_queue, many, few = JobQueue(), _Owner(), _Owner()
    for number in range(100):
        job_queue.add(_job(many, number, 0.0), 0.0)
    for number in range(100, 103):
        job_queue.add(_job(few, number, 0.0), 0.0)
    owners = [job.owner for job in _drain(job_queue, 0.0)]
    assert owners[:6].count(few) == 3  # type: ignore[arg-type]


def test_the_urgent_lane_goes_first() -> None:
    """A due call for one id goes before all runs; one that is not due waits its time."""
    job_queue, run = JobQueue(), _Owner()
    for number in range(3):
        job_queue.add(_job(run, number, 0.0), 0.0)
    person = _Owner(urgent=True)
    job_queue.add(_job(person, 9, 1.0), 0.0)
    first = job_queue.pop(0.0)
    assert first is not None
    assert first.owner is run  # type: ignore[comparison-overlap]
    job_queue.add(_job(person, 8, 0.5), 0.5)
    assert [job.request_id for job in _drain(job_queue, 0.5)] == ["id-8", "id-1", "id-2"]
    assert job_queue.next_time(0.5) == 1.0


def _failed(job: Job) -> Job:
    """Let the last query of a job have had a fault."""
    job.history().faults = 1
    return job


@pytest.mark.parametrize("urgent", [False, True], ids=["in a run", "waited for"])
def test_a_job_with_faults_has_one_turn_in_four(urgent: bool) -> None:
    """However many there are, and whoever waits for them, three sound jobs go between two."""
    job_queue, sound, sick = JobQueue(), _Owner(), _Owner(urgent=urgent)
    for number in range(6):
        job_queue.add(_failed(_job(sick, number, 0.0)), 0.0)
    for number in range(6, 15):
        job_queue.add(_job(sound, number, 1.0), 1.0)
    turns = ["sick" if job.is_troubled else "sound" for job in _drain(job_queue, 1.0)]
    assert turns == [*(["sound"] * 3 + ["sick"]) * 3, *["sick"] * 3]


def test_a_job_with_faults_that_may_not_go_yet() -> None:
    """Sound jobs go before it; where none is due, it goes all the same."""
    job_queue, owner = JobQueue(), _Owner()
    job_queue.add(_failed(_job(owner, 0, 0.0)), 0.0)
    for number in range(1, 9):
        job_queue.add(_job(owner, number, 0.0), 0.0)
    popped = [job_queue.pop(0.0, may_go=lambda _: False) for _ in range(10)]
    assert [job is not None and job.is_troubled for job in popped] == [False] * 8 + [True, False]


def test_known_ids_that_are_asked_in_doubt() -> None:
    """A due one goes, or one before its time, and no other."""
    job_queue, owner = JobQueue(), _Owner()
    known, asleep, failed, *new = [_job(owner, number, 0.0) for number in range(20)]
    known.stage = asleep.stage = failed.stage = ANSWERED
    asleep.release = 99.0
    for job in (*new, _failed(failed), known, asleep):
        job_queue.add(job, 0.0)
    assert [job_queue.pop_known(0.0) for _ in range(3)] == [known, asleep, None]
    assert len(_drain(job_queue, 0.0)) == 18


def test_known_ids_in_doubt_keep_their_turns() -> None:
    """The one whose end was sure goes first, once it has passed; the others by their deadlines."""
    job_queue, owner = JobQueue(), _Owner()
    for order in range(20):
        job = _job(owner, order, 0.0, float(order))
        job.stage, job.precedence = ANSWERED, EXPECTED if order in {7, 15} else ORDINARY
        job_queue.add(job, 0.0)
    popped = [job_queue.pop_known(9.0) for _ in range(20)]
    others = [order for order in range(20) if order != 7]
    assert [job.order for job in popped if job is not None] == [7, *others]


def test_a_known_id_that_goes_as_a_probe_is_any_of_them() -> None:
    """Not the one whose turn is first: it would be the same again and again."""
    job_queue, owner = JobQueue(), _Owner()
    for order in range(20):
        job = _job(owner, order, 0.0, float(order))
        job.stage = ANSWERED
        job_queue.add(job, 0.0)
    probes = [job_queue.pop_probe(9.0, None) for _ in range(20)]
    orders = [job.order for job in probes if job is not None]
    assert sorted(orders) == list(range(20))
    assert orders != sorted(orders)


def test_who_goes_as_a_probe() -> None:
    """One that was answered well, a new one, a sleeping one, then a failed one; last the suspect.

    The suspect has not failed by the count, and has been answered well; none of it helps.
    """
    job_queue, owner = JobQueue(), _Owner()
    jobs = [_job(owner, number, 0.0) for number in range(20)]
    suspect, known, asleep, failed, *new = jobs
    suspect.stage = known.stage = ANSWERED
    asleep.release = 99.0
    for job in (suspect, _failed(failed), *new, asleep, known):
        job_queue.add(job, 0.0)
    popped = [job_queue.pop_probe(0.0, suspect.request_id) for _ in jobs]
    assert popped[0] is known
    assert sorted(job.request_id for job in popped[1:-3] if job) == sorted(
        job.request_id for job in new
    )
    assert popped[-3:] == [asleep, failed, suspect]
    assert job_queue.pop_probe(0.0, None) is None


def test_void_jobs_are_never_given() -> None:
    """A job that nobody owns any more is dropped where it stands."""
    job_queue, run = JobQueue(), _Owner()
    jobs = [_job(run, number, number) for number in range(6)]
    for job in jobs:
        job_queue.add(job, 2.0)
    for job in jobs[::2]:
        job.owner = None
    assert [job.request_id for job in _drain(job_queue, 10.0)] == ["id-1", "id-3", "id-5"]


def test_a_mass_release_is_taken_by_portions() -> None:
    """When many jobs wake at one moment the loop is not held up by all of them at once."""
    job_queue, run = JobQueue(), _Owner()
    for number in range(5000):
        job_queue.add(_job(run, number, 1.0), 0.0)
    assert job_queue.pop(1.0) is not None
    lane = job_queue.lane_of(run)  # type: ignore[arg-type]
    assert len([*lane.ready, *lane.immediate]) < 1000
    assert len(_drain(job_queue, 1.0)) == 4999


def test_a_sweep_goes_by_portions() -> None:
    """Of many that are overdue few are listed in one go, and in the end each of them once."""
    job_queue, run = JobQueue(), _Owner()
    jobs = [_job(run, number, 0.0) for number in range(5000)]
    for job in jobs:
        job.expires = 1.0 if int(job.request_id[3:]) % 2 else 9.0
        job_queue.add(job, 0.0)
    lane = job_queue.lane_of(run)  # type: ignore[arg-type]
    portions = list(lane.overdue(2.0))
    assert max(map(len, portions)) < 1000
    late = [job.request_id for portion in portions for job in portion]
    assert sorted(late) == sorted(job.request_id for job in jobs if job.expires == 1.0)
    assert lane.soonest == 9.0


def test_ids_of_equal_release_keep_their_order() -> None:
    """A lane ranks new jobs of one release as they came."""
    lane = Lane()
    ranks = [lane.in_line(release) for release in (1.0, 1.0, 1.0, 2.0, 2.0, 0.5)]
    assert ranks[:3] == sorted(set(ranks[:3]))
    assert ranks[3:] == [2.0, ranks[4], 0.5]
    assert 2.0 < ranks[4] < 2.0 + 1e-9


def test_lanes_that_were_served_in_the_other_turn_are_let_go_of() -> None:
    """Runs whose eager jobs were all taken in the common turn leave nothing behind."""
    job_queue = JobQueue()
    lanes: WeakSet[Lane] = WeakSet()
    for number in range(50):
        owner: Any = _Owner()
        lanes.add(job_queue.lane_of(owner))
        job_queue.add(_job(owner, number, 0.0), 0.0)
        assert len(_drain(job_queue, 0.0)) == 1
        job_queue.remove(owner)
    gc.collect()
    assert len(lanes) <= 1


@pytest.mark.anyio
async def test_what_is_due_next_has_its_alarm_while_a_query_lasts() -> None:
    """The worker that takes the only due id sees to it that the next one is not late."""
    server = RawServer(ends={"slow": math.inf, "other": math.inf})
    async with server, IdeogramClient(server.url, schedule=FixedInterval(2.0)) as client:
        async with client.as_completed(["slow"]):
            await anyio.sleep(0.5)
            async with client.as_completed(["other"]):
                await anyio.sleep(1)
                server.script([20.0, server.answer("slow")], request_id="slow")
                await anyio.sleep(10)
        times = [query.at for query in server.queries if query.request_id == "other"]
        assert times == pytest.approx([0.5, 2.5, 4.5, 6.5, 8.5, 10.5], abs=0.1)


@pytest.mark.anyio
async def test_a_wait_for_an_id_of_a_long_run_goes_first() -> None:
    """An id that waits its turn in a run of many is asked at once when a call waits for it."""
    async with (
        Gateway(latency=0.1) as gateway,
        IdeogramClient(gateway.url, max_in_flight=2, schedule=FixedInterval(2.0)) as client,
    ):
        ids = [gateway.submit(duration=0) for _ in range(1000)]
        async with client.as_completed(ids) as completed:
            await anyio.sleep(1)
            begun = anyio.current_time()
            assert (await client.wait(ids[-1])).is_complete
            assert anyio.current_time() - begun <= 0.3
            assert len([request async for request in completed]) == 1000
        assert len(gateway.queries) == 1000


@pytest.mark.anyio
async def test_waits_leave_a_fifth_of_the_rate_to_runs() -> None:
    """Under a rate that waits alone would fill, a run still has one of each five queries."""
    async with (
        Gateway(latency=0.05) as gateway,
        IdeogramClient(gateway.url, max_rate=5, schedule=FixedInterval(1.0)) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(20):
            tasks.start_soon(client.wait, gateway.submit(progress="never"))
        await anyio.sleep(10)
        ids = [gateway.submit(duration=0) for _ in range(50)]
        with anyio.fail_after(75):
            assert len([request async for request in client.as_completed(ids)]) == 50
        asked = [query.request_id in ids for query in gateway.queries if query.at > 10]
        assert 0.19 < sum(asked) / len(asked) < 0.25
        tasks.cancel_scope.cancel()


@pytest.mark.anyio
async def test_a_wait_and_a_small_run_are_not_held_up_by_20_000_ids() -> None:
    """With 20,000 ids polled at 100 queries a second a wait is late by < 8 s, 20 ids by < 20 s."""
    async with (
        Gateway(latency=0.2) as gateway,
        IdeogramClient(gateway.url, max_in_flight=20, schedule=FixedInterval(2.0)) as client,
    ):
        loop = asyncio.get_running_loop()
        lags: dict[str, float] = {}
        ids = [gateway.submit(progress="never") for _ in range(BACKGROUND)]

        def note(request_ids: Iterable[str | None]) -> None:
            for request_id in map(str, request_ids):
                lags[request_id] = loop.time() - gateway.completes_at(request_id)

        async def wait() -> None:
            note([(await client.wait(waited)).request_id])

        async def small_run() -> None:
            async for request in client.as_completed(
                [gateway.submit(duration=10) for _ in range(20)]
            ):
                note([request.request_id])

        async with client.as_completed(ids):
            await anyio.sleep(5)
            waited = gateway.submit(duration=10)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                tasks.start_soon(small_run)
            rate = len(gateway.queries) / loop.time()
        assert rate == pytest.approx(100, rel=0.1)
        assert len(lags) == 21
        assert min(lags.values()) >= 0
        assert max(lags.values()) < 20
        assert lags[waited] < 8


_STEPS = st.lists(st.none() | st.floats(0, 3).map(lambda x: round(x, 2)), max_size=60)
"""What is added, and where something is taken."""


@pytest.mark.parametrize("kind", [ReadyQueue, CalendarQueue])
@given(steps=_STEPS)
def test_the_least_comes_first(
    kind: type[ReadyQueue | CalendarQueue], steps: list[float | None]
) -> None:
    """A line by its order and a calendar by its releases give the least of what is in them."""
    jobs, model = kind(), list[float]()
    for number, rank in enumerate(steps):
        if rank is not None:
            jobs.add(_job(_Owner(), number, rank))
            heapq.heappush(model, rank)
        elif model:
            assert jobs.pop().release == heapq.heappop(model)
        assert jobs.first == (model[0] if model else math.inf)
        assert sorted(job.release for job in jobs) == sorted(model)
        parts = [job.release for part in jobs.parts() for job in part]
        assert sorted(parts) == sorted(model)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefgh")), max_size=40))
def test_seen_is_a_set(steps: list[tuple[bool, str]]) -> None:
    """What was met and not forgotten is known, once, however it is spread over the parts."""
    seen, model = IdSet(), set[str]()
    for adds, name in steps:
        if adds:
            assert seen.add(name) == (name not in model)
            model.add(name)
        else:
            seen.discard(name)
            model.discard(name)
        assert len(seen) == len(model)
        assert all((name in seen) == (name in model) for name in "abcdefgh")
    for _ in seen.clear():
        pass
    assert len(seen) == 0
    assert not any(name in seen for name in "abcdefgh")

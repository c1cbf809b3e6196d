"""The adaptive schedule: its formula, what it learns, what it makes of garbage, what it saves."""

from __future__ import annotations

import math
import re
import sys
from itertools import product
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.schedule.simulation import Curve, poll_blindly, simulate
from benchmarks.schedule.workloads import workload
from ideogram_async._models import SamplingRequest
from ideogram_async._schedules.adaptive import SHORTEST_DELAY_SECONDS, AdaptiveSchedule
from ideogram_async._schedules.base import Observation, Schedule
from ideogram_async._schedules.learned import (
    EDGES,
    MAX_POOLS,
    STRAY_BELIEVED_VARIANCES,
    Band,
    CompletionSample,
    Learned,
    LearnedKind,
    Pools,
    band_of,
)
from ideogram_async._schedules.rent_or_buy import LONGEST_DELAY_SECONDS, interval
from ideogram_async._schedules.request_state import JobState

TRIP = 0.2


def see(asked: float, *, date: float | None = None, **fields: Any) -> Observation:
    """Make what a query told."""
    return Observation(asked, asked + TRIP, 0.0, SamplingRequest(**fields), date)


def begin(schedule: AdaptiveSchedule, *, now: float = 0.0, fresh: bool = True) -> JobState:
    """Take in a request."""
    return schedule.start(now, just_submitted=fresh)[0]


def complete(schedule: AdaptiveSchedule, took: float, **fields: Any) -> None:
    """Show a fresh request that took so long, seen to the millisecond."""
    state = begin(schedule)
    schedule.next_delay(state, see(took - 0.001))
    schedule.completed(state, see(took + 0.001, completion_percentage=100, **fields))


def lag_by_integration(mu: float, sg: float, w: float, d: float) -> float:
    """Give E[(w + d - R)+ | R > w] by the midpoint rule."""

    def density(r: float) -> float:
        z = (math.log(r) - mu) / sg
        return math.exp(-z * z / 2) / (r * sg * math.sqrt(2 * math.pi))

    n = 4000
    alive = 0.5 * math.erfc((math.log(w) - mu) / sg / math.sqrt(2)) if w else 1.0
    points = (w + d * (i + 0.5) / n for i in range(n))
    return sum((w + d - r) * density(r) for r in points) * d / n / alive


@pytest.mark.parametrize(("mu", "sg"), [(0.0, 0.3), (2.3, 0.5), (2.3, 1.5), (3.4, 0.1)])
def test_interval_is_worth_its_price(mu: float, sg: float) -> None:
    """After the interval the expected lag, integrated numerically, is the price of a query."""
    for price, share in product((0.02, 0.05, 0.2, 1.0), (0.0, 0.5, 1.0, 1.3)):
        w = share * math.exp(mu)
        d = interval(mu, sg, w, price)
        if d < LONGEST_DELAY_SECONDS:
            assert lag_by_integration(mu, sg, w, d) == pytest.approx(price, rel=0.02)
        else:
            assert lag_by_integration(mu, sg, w, d) <= price


@pytest.mark.parametrize("sg", [0.1, 0.3, 0.5])
def test_keller_step_joins_the_rule(sg: float) -> None:
    """In the far tail the step at the hazard takes over with no jump."""
    edge = math.exp(2.0 + sg * 4.7534)  # where Q(z_w) = 1e-6
    before, after = (interval(2.0, sg, edge * share, 0.05) for share in (0.9999, 1.0001))
    assert after == pytest.approx(before, rel=0.12)


@given(
    mu=st.floats(-45, 55),
    sg=st.floats(1e-4, 1.5),
    w=st.floats(0, 1e6),
    price=st.floats(0, 1e300, exclude_min=True),
)
def test_interval_is_finite_for_all_that_can_be_learned(
    mu: float, sg: float, w: float, price: float
) -> None:
    """No parameters that the bounds allow break the formula."""
    assert interval(mu, sg, w, price) <= LONGEST_DELAY_SECONDS + 1e-6


@pytest.mark.parametrize("mu", [22.467087695901412, 22.5])
def test_interval_survives_its_last_digits(mu: float) -> None:
    """Where hardly anything can have completed yet, rounding does not throw Newton's method off."""
    sg, w, price = 1.4971911301588663, 313663.15590268804, 1e-26
    z = (math.log(w) - mu) / sg
    hazard = math.exp(-z * z / 2) / (math.sqrt(2 * math.pi) * sg * w)
    assert interval(mu, sg, w, price) == pytest.approx(math.sqrt(2 * price / hazard), rel=1e-3)


def test_dearer_queries_are_rarer() -> None:
    """The first delay grows with the price."""
    delays = [AdaptiveSchedule(p).start(0.0, just_submitted=True)[1] for p in (0.02, 0.05, 0.2)]
    assert delays == sorted(set(delays))


@pytest.mark.parametrize("price", [0.0, -1.0, math.inf, math.nan])
def test_price_is_checked(price: float) -> None:
    """A price that is no finite number above 0 is refused."""
    with pytest.raises(ValueError, match="price is"):
        AdaptiveSchedule(price)


@pytest.mark.parametrize(
    ("p", "band"),
    [(0, 0), (0.9, 0), (1, 1), (24.9, 1), (25, 2), (50, 3), (75, 4), (90, 5), (98.9, 5), (99, 6)],
)
def test_bands(p: float, band: int) -> None:
    """Each band begins at its edge."""
    assert band_of(p) == band


def test_a_band_forgets() -> None:
    """The gain falls to 1/64, and no further, so a band follows a change."""
    band = Band(2, 0.0, 1.0)
    assert band.taught(1.0).mean == pytest.approx(1 / 3)
    for _ in range(500):
        band = band.taught(0.0)
    assert band.n == 64
    assert band.taught(1.0).mean == pytest.approx(1 / 64, abs=1e-4)


def test_a_band_learns_mean_and_spread() -> None:
    """The running variance is that of the residuals."""
    band = Band(2, 0.0, 1.0)
    for i in range(1000):
        band = band.taught(3.0 + (0.5 if i % 2 else -0.5))
    assert band.mean == pytest.approx(3.0, abs=0.02)
    assert band.deviation == pytest.approx(0.5, abs=0.02)


def test_sg_is_wide_while_little_is_known_and_bounded() -> None:
    """The predictive deviation adds the mean's own error, within 0.05 and 1.5."""
    assert Band(2, 0.0, 0.5).deviation == pytest.approx(math.sqrt(0.75))
    assert Band(64, 0.0, 0.0).deviation == 0.05
    assert Band(2, 0.0, 100.0).deviation == 1.5


def test_completion_is_between_the_last_two_queries() -> None:
    """Band 0 learns the middle of the interval in which the request ended."""
    schedule = AdaptiveSchedule()
    state = begin(schedule, now=100.0)
    schedule.next_delay(state, see(110.0))
    before = schedule.save().bands[0]
    schedule.completed(state, see(114.0, completion_percentage=100))
    assert schedule.save().bands[0] == before.taught(math.log(12.0))


def test_the_note_teaches_its_band() -> None:
    """The naive estimate at 50 % after 10 s, 10.1 s left, is held against the 20 s it took."""
    schedule = AdaptiveSchedule()
    state = begin(schedule)
    schedule.next_delay(state, see(10.0, completion_percentage=50))
    before = schedule.save().bands
    schedule.next_delay(state, see(29.9, completion_percentage=50))
    schedule.completed(state, see(30.1, completion_percentage=100))
    residual = math.log(20.0) - math.log(10.0 * 50.5 / 50)
    after = schedule.save().bands
    assert after[3].mean == pytest.approx(before[3].taught(residual).mean, abs=1e-6)
    assert after[3].n == 3


def test_untaught_bands_follow_the_first_lessons() -> None:
    """A lesson on progress moves the bands that had none of their own, and leaves them loose."""
    pools = Pools(None)
    pools.all.teach_band(3, 2.0)
    pools.all.teach_band(4, 1.0)
    bands = pools.all.bands
    assert [band.n for band in bands] == [2, 2, 2, 3, 3, 2, 2]
    assert bands[1].mean > bands[3].mean > Pools(None).all.bands[3].mean
    assert bands[0] == Pools(None).all.bands[0]


def test_kinds_learn_apart() -> None:
    """Turbo and quality requests each get delays of their own after the first answer."""
    schedule = AdaptiveSchedule()
    for _ in range(100):
        complete(schedule, 4.0, sampling_speed=2)
        complete(schedule, 40.0, sampling_speed=-2)
    turbo, quality = (
        schedule.next_delay(begin(schedule), see(3.0, sampling_speed=speed, has_started=False))
        for speed in (2, -2)
    )
    assert turbo < 4.5
    assert quality > 25


def test_a_new_kind_starts_from_all() -> None:
    """A kind that has never been seen goes by what all requests together have taught."""
    schedule = AdaptiveSchedule()
    for _ in range(100):
        complete(schedule, 40.0, model_version="V_3_0")
    seen = see(1.0, model_version="V_4_0", has_started=False)
    assert schedule.next_delay(begin(schedule), seen) > 20


def test_who_gets_the_samples_learns_as_much() -> None:
    """What completions teach one schedule can be passed on as JSON to another."""
    first, second = AdaptiveSchedule(), AdaptiveSchedule()
    passed: list[bytes] = []
    first.on_sample = lambda sample: passed.append(msgspec.json.encode(sample))
    for took in (4.0, 9.0, 20.0):
        state = begin(first)
        for share in (0.3, 0.6):
            first.next_delay(state, see(share * took, completion_percentage=100 * share))
        first.completed(state, see(took, completion_percentage=100, model_version="V_3"))
    for sample in passed:
        second.learn(msgspec.json.decode(sample, type=CompletionSample))
    assert first.save() == second.save() != AdaptiveSchedule().save()


def test_pools_are_bounded() -> None:
    """Of endless kinds the ones taught last are kept."""
    pools = Pools(None)
    for i in range(3 * MAX_POOLS):
        for name in ("kept", f"V_{i}"):
            for pool in pools.taught_by((name, None, None)):
                pool.teach_band(0, 1.0)
    names = [kind.model_version for kind in pools.save().kinds]
    assert len(names) == len(pools) == MAX_POOLS
    assert names[-1] == f"V_{3 * MAX_POOLS - 1}"
    assert "kept" in names


def test_progress_sets_the_expected_end() -> None:
    """Half done after 10 s: the end is expected a quarter later than the band's prediction."""
    schedule = AdaptiveSchedule()
    state = begin(schedule)
    assert schedule.expected_end(state) is None
    schedule.next_delay(state, see(10.0, completion_percentage=50))
    left = 10.1 * math.exp(schedule.save().bands[3].mean)
    assert schedule.expected_end(state) == pytest.approx(10.0 + 1.25 * left)


def test_a_failed_prediction_is_put_off() -> None:
    """An end that has passed is expected as late again as it is overdue."""
    schedule = AdaptiveSchedule()
    state = begin(schedule)
    schedule.next_delay(state, see(10.0, completion_percentage=90))
    first = schedule.expected_end(state)
    assert first is not None
    schedule.next_delay(state, see(30.0, completion_percentage=90))
    assert schedule.expected_end(state) == pytest.approx(30.0 + (30.0 - first))


def test_progress_sharpens_the_delay() -> None:
    """Nearly done is asked soon, hardly begun is asked late."""
    delays = [
        AdaptiveSchedule().next_delay(begin(AdaptiveSchedule()), see(10.0, completion_percentage=p))
        for p in (95, 60, 20)
    ]
    assert delays == sorted(delays)
    assert delays[0] < 0.3
    assert delays[-1] > 3


def straight(**changed: Any) -> AdaptiveSchedule:
    """Return a schedule that has learned that requests take some 14 s, and are straight."""
    learned = Learned(
        (Band(64, math.log(14.0), 0.16), *Pools(None).all.bands[1:]),
        stray=Band(32, 0.9, 1.0),
        begun=Band(64, 0.1, 0.0025),
    )
    return AdaptiveSchedule(learned=msgspec.structs.replace(learned, **changed))


def test_the_line_names_the_end() -> None:
    """On a straight kind, 30 % after 5 s and 50 % after 7 s promise 100 % after 12 s."""
    schedule = straight()
    state = begin(schedule)
    for asked, percentage in ((5.0, 30), (7.0, 50)):
        delay = schedule.next_delay(state, see(asked, completion_percentage=percentage))
    assert 3.5 < delay < 5.5
    end = schedule.expected_end(state)
    assert end is not None
    assert end == pytest.approx(12.4, abs=0.5)


def test_lines_have_to_prove_straight() -> None:
    """Where lines were never seen, or have strayed, the bands decide as if there were none."""
    for stray in (Band(2, 3.0, 0.0), Band(32, 5.0, 9.0)):
        schedule, bands = straight(stray=stray), straight(begun=Band(2, 0.9, 0.0), stray=stray)
        for one in (30, 50, 70):
            seen = see(0.14 * one, completion_percentage=one)
            state, other = begin(schedule), begin(bands)
            assert schedule.next_delay(state, seen) == bands.next_delay(other, seen)
            assert schedule.expected_end(state) == bands.expected_end(other)


def test_a_line_that_failed_is_left() -> None:
    """A request whose percentage jumps off its line goes on by the bands."""
    schedule, bands = straight(), straight(stray=Band(32, 5.0, 9.0))
    state, other = begin(schedule), begin(bands)
    for asked, percentage in ((5.0, 30), (20.0, 31)):
        seen = see(asked, completion_percentage=percentage)
        delays = schedule.next_delay(state, seen), bands.next_delay(other, seen)
    assert delays[0] == delays[1]


def test_lines_that_fail_are_soon_mistrusted() -> None:
    """Three requests whose progress proved crooked end the trust of many straight ones."""
    schedule = straight()
    for _ in range(3):
        state = begin(schedule)
        for asked, percentage in ((5.0, 30), (7.0, 80), (29.9, 81)):
            schedule.next_delay(state, see(asked, completion_percentage=percentage))
        schedule.completed(state, see(30.0, completion_percentage=100))
    assert schedule.save().stray.mean > STRAY_BELIEVED_VARIANCES


def test_straight_requests_earn_trust() -> None:
    """A few requests with straight progress are enough for lines to be believed."""
    schedule = AdaptiveSchedule()
    simulate(schedule, workload("B", 5, 60), "linear")
    learned = schedule.save()
    assert learned.stray.mean <= STRAY_BELIEVED_VARIANCES
    assert 0.02 < learned.begun.mean < 0.3


def test_curiosity_is_for_straight_kinds() -> None:
    """The first query comes sooner where it also shows a point of a line that is believed."""
    believing, doubting = straight(), straight(stray=Band(32, 5.0, 9.0))
    first = [one.start(0.0, just_submitted=True)[1] for one in (believing, doubting)]
    assert first[0] < 0.95 * first[1]


def test_99_is_the_second_point_of_a_line() -> None:
    """A line with one early percentage is wide: 99 % shows where its end is."""
    schedule = straight()
    state = begin(schedule)
    for asked, percentage in ((1.2, 9), (13.3, 99)):
        schedule.next_delay(state, see(asked, completion_percentage=percentage))
    end = schedule.expected_end(state)
    assert end is not None
    assert 13.3 < end < 14.5


def test_99_is_no_promise_where_progress_is_crooked() -> None:
    """Only where lines are believed does 99 % name an end."""
    bands = (*Pools(None).all.bands[:-1], Band(64, 0.0, 0.1))
    for stray, named in ((Band(32, 5.0, 9.0), False), (Band(32, 0.9, 1.0), True)):
        schedule = straight(bands=bands, stray=stray)
        state = begin(schedule)
        for asked, percentage in ((5.0, 30), (6.0, 99), (60.0, 99)):
            schedule.next_delay(state, see(asked, completion_percentage=percentage))
        assert (schedule.expected_end(state) is not None) is named


def test_what_an_earlier_version_learned_is_loaded() -> None:
    """Bands that were saved without what is learned of lines keep their values."""
    saved = msgspec.json.encode(straight().save())
    document = msgspec.json.decode(saved)
    del document["stray"], document["begun"]
    document["kinds"] = [
        {"model_version": "V_3", "request_type": None, "sampling_speed": None}
        | {"bands": document["bands"]}
    ]
    loaded = AdaptiveSchedule(learned=msgspec.convert(document, Learned)).save()
    assert loaded.bands == straight().save().bands
    assert loaded.stray == loaded.kinds[0].stray == Pools(None).all.stray


def test_useless_progress_is_not_believed() -> None:
    """A band whose residuals scatter by more than 0.9 gives way to band 0."""
    bands = Pools(None).all.bands
    bands[3] = Band(64, 0.0, 1.2)
    schedule = AdaptiveSchedule(learned=Learned(tuple(bands)))
    told, silent = begin(schedule), begin(schedule)
    delay = schedule.next_delay(told, see(10.0, completion_percentage=50))
    assert delay == schedule.next_delay(silent, see(10.0))
    assert schedule.expected_end(told) is None


def test_progress_may_change_for_ever() -> None:
    """However often the percentage changes, the count of the notes has room."""
    schedule = AdaptiveSchedule()
    state = begin(schedule)
    for i in range(600):
        assert schedule.next_delay(state, see(float(i), completion_percentage=1 + i % 90)) > 0


def test_falling_progress_is_measured_anew() -> None:
    """A resumed request that falls below its anchor is measured from there."""
    schedule = AdaptiveSchedule()
    state = begin(schedule, fresh=False)
    schedule.next_delay(state, see(0.0, completion_percentage=33))
    schedule.next_delay(state, see(5.0, completion_percentage=6))
    assert schedule.expected_end(state) is None
    schedule.next_delay(state, see(7.0, completion_percentage=26))
    left = 2.0 * 74.5 / 20 * math.exp(schedule.save().bands[2].mean)
    assert schedule.expected_end(state) == pytest.approx(7.0 + 1.25 * left)


def test_not_started_begins_the_clock_anew() -> None:
    """However long it has waited, it is asked like one that starts now."""
    schedule = AdaptiveSchedule()
    state, first = schedule.start(0.0, just_submitted=True)
    delay = schedule.next_delay(state, see(500.0, has_started=False, completion_percentage=33))
    assert delay == pytest.approx(first - TRIP)
    schedule.next_delay(state, see(510.0, has_started=True, completion_percentage=50))
    left = 10.1 * math.exp(schedule.save().bands[3].mean)
    assert schedule.expected_end(state) == pytest.approx(510.0 + 1.25 * left)


def test_never_sleeps_longer_than_it_has_run() -> None:
    """A started request that is thought to take long is still asked again in its own time."""
    schedule = AdaptiveSchedule()
    for _ in range(100):
        complete(schedule, 300.0)
    assert schedule.next_delay(begin(schedule), see(3.0, has_started=True)) <= 3.0
    assert schedule.next_delay(begin(schedule), see(3.0, has_started=False)) > 20


def test_resumed_is_asked_at_once() -> None:
    """Only an id that is not known to be fresh is due at once."""
    schedule = AdaptiveSchedule()
    assert schedule.start(5.0, just_submitted=False)[1] == 0
    assert schedule.start(5.0, just_submitted=True)[1] > 1


def test_resumed_teaches_nothing() -> None:
    """Its beginning was not seen, so its end teaches nothing."""
    schedule = AdaptiveSchedule()
    state = begin(schedule, fresh=False)
    schedule.next_delay(state, see(0.0, date=1000.0, creation_time_float=950.0))
    before = schedule.save()
    schedule.completed(state, see(9.0, completion_percentage=100))
    assert schedule.save() == before
    schedule.completed(begin(schedule, fresh=False), see(9.0, completion_percentage=100))
    assert schedule.save() == before


@pytest.mark.parametrize(("age", "fresh"), [(0.0, True), (1.4, True), (5.0, False), (-3.0, False)])
def test_the_server_tells_what_is_new(age: float, fresh: bool) -> None:
    """One that the server's own clock calls new is learned from; a clock that differs is not."""
    schedule = AdaptiveSchedule()
    state = begin(schedule, fresh=False)
    schedule.next_delay(state, see(0.0, date=1000.0, creation_time_float=1000.0 - age))
    before = schedule.save()
    schedule.completed(state, see(9.0, completion_percentage=100))
    assert (schedule.save() != before) is fresh


def test_age_counts_by_the_server_and_is_bounded() -> None:
    """Band 0 rules from its age by the server, half a second for the cut; absurd ages are cut."""
    schedule = AdaptiveSchedule()

    def second(age: float) -> float:
        seen = see(0.0, date=1000.0, creation_time_float=1000.0 - age)
        return schedule.next_delay(begin(schedule, fresh=False), seen)

    band = schedule.save().bands[0]
    expected = interval(band.mean, band.deviation, 9.5, 0.05) - TRIP
    assert second(9.0) == pytest.approx(expected)
    assert second(1e12) == second(math.exp(band.mean + band.deviation) + 1)
    assert second(-1e12) == second(-5.0)


def test_resumed_progress_is_measured_by_this_clock() -> None:
    """A server's clock that is off does not stretch the prediction."""
    for date in (None, 700.0, 1000.0, 1300.0):
        schedule = AdaptiveSchedule()
        state = begin(schedule, fresh=False)
        seen = see(0.0, date=date, creation_time_float=980.0, completion_percentage=40)
        schedule.next_delay(state, seen)
        schedule.next_delay(state, see(2.0, completion_percentage=50))
        left = 2.0 * 50.5 / 10 * math.exp(schedule.save().bands[3].mean)
        assert schedule.expected_end(state) == pytest.approx(2.0 + 1.25 * left)


def test_resumed_before_its_start_is_fresh() -> None:
    """One that is seen not to have started is learned from that moment on."""
    schedule = AdaptiveSchedule()
    state = begin(schedule, fresh=False)
    schedule.next_delay(state, see(0.0, has_started=False))
    before = schedule.save().bands[0]
    schedule.next_delay(state, see(8.0))
    schedule.completed(state, see(10.0, completion_percentage=100))
    assert schedule.save().bands[0] == before.taught(math.log(9.0))


PERCENTAGES = st.one_of(
    st.none(),
    st.integers(-(10**400), 10**400),
    st.floats(allow_nan=False),
    st.integers(0, 99),
)
CLOCKS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))
ANSWERS = st.builds(
    lambda **told: Observation(**told),  # noqa: PLW0108 - its annotations cannot be resolved
    asked=st.floats(-1e12, 1e12),
    answered=st.floats(-1e12, 1e12),
    late=st.floats(-1e12, 1e12),
    record=st.builds(
        SamplingRequest,
        completion_percentage=PERCENTAGES,
        has_started=st.sampled_from([None, False, True]),
        creation_time_float=CLOCKS,
        sampling_speed=st.sampled_from([None, 0, 10**30]),
    ),
    server_time=CLOCKS,
)

LIKELY = st.builds(
    lambda asked, percentage, started: see(
        asked, completion_percentage=percentage, has_started=started
    ),
    st.floats(0, 60),
    st.integers(0, 99),
    st.sampled_from([None, False, True]),
)
"""Answers as they are, so that lines are often believed."""


@given(
    price=st.floats(1e-12, 1e12),
    fresh=st.booleans(),
    believes=st.booleans(),
    jobs=st.lists(st.lists(ANSWERS | LIKELY, min_size=1, max_size=8), max_size=5),
)
def test_any_answers_give_delays_within_bounds(
    price: float, fresh: bool, believes: bool, jobs: list[list[Observation]]
) -> None:
    """Whatever the answers and the clocks say: finite, within the bounds, and never zero."""
    schedule = AdaptiveSchedule(price, learned=straight().save() if believes else None)
    for answers in jobs:
        state, first = schedule.start(0.0, just_submitted=fresh)
        assert (SHORTEST_DELAY_SECONDS if fresh else 0) <= first <= LONGEST_DELAY_SECONDS
        for seen in answers[:-1]:
            assert SHORTEST_DELAY_SECONDS <= schedule.next_delay(state, seen) <= 1e5
            end = schedule.expected_end(state)
            assert end is None or math.isfinite(end)
            assert not (schedule.is_sure(state) and end is None)
            assert schedule.explain(state)
            assert sys.getsizeof(state) + sys.getsizeof(state.packed) <= 150
        schedule.completed(state, answers[-1])
    AdaptiveSchedule(learned=schedule.save())


@given(percentages=st.lists(PERCENTAGES, max_size=30), fresh=st.booleans())
def test_delays_are_bounded_by_age(percentages: list[float | None], fresh: bool) -> None:
    """With clocks that run on, no delay exceeds 30 s or a tenth of the age."""
    schedule = AdaptiveSchedule()
    state, now = schedule.start(0.0, just_submitted=fresh)
    for p in percentages:
        seen = see(now, completion_percentage=p)
        delay = schedule.next_delay(state, seen)
        assert SHORTEST_DELAY_SECONDS <= delay <= max(LONGEST_DELAY_SECONDS, 0.1 * now)
        now = seen.answered + delay


@pytest.mark.parametrize("told", [None, 0, 50, 99])
def test_a_hung_request_costs_few_queries(told: int | None) -> None:
    """Ten minutes without a change are at most 100 queries, at whatever percentage it hangs."""
    schedule = AdaptiveSchedule()
    state, now = schedule.start(0.0, just_submitted=True)
    polls = 0
    while now < 600:
        seen = see(now, completion_percentage=told)
        now = seen.answered + schedule.next_delay(state, seen)
        polls += 1
    assert polls <= 100


def test_the_state_is_small() -> None:
    """What is kept of a job is at most 150 bytes, and the collector does not track it."""
    schedule = AdaptiveSchedule()
    state = begin(schedule)
    schedule.next_delay(state, see(10.0, completion_percentage=50.5))
    assert sys.getsizeof(state) + sys.getsizeof(state.packed) <= 150
    assert not state.__struct_config__.gc


def test_what_was_learned_survives_a_restart() -> None:
    """Saved as JSON and loaded, a schedule decides as before."""
    schedule = AdaptiveSchedule()
    simulate(schedule, workload("D", 5, 200), "linear")
    saved = msgspec.json.encode(schedule.save())
    loaded = AdaptiveSchedule(learned=msgspec.json.decode(saved, type=Learned))
    assert loaded.save() == schedule.save()
    seen = see(5.0, completion_percentage=40, sampling_speed=2, model_version="V_3_0")
    assert loaded.next_delay(begin(loaded), seen) == schedule.next_delay(begin(schedule), seen)
    assert loaded.start(0, just_submitted=True)[1] == schedule.start(0, just_submitted=True)[1]


@pytest.mark.parametrize(
    "band",
    [
        Band(math.nan, 0, 1),
        Band(0, 0, 1),
        Band(1e9, 0, 1),
        Band(2, math.nan, 1),
        Band(2, math.inf, 1),
        Band(2, -41, 1),
        Band(2, 0, -0.1),
        Band(2, 0, math.inf),
    ],
)
def test_absurd_learning_is_refused(band: Band) -> None:
    """What could break the formula is refused by name, in the common bands and in a kind's."""
    good = tuple(Pools(None).all.bands)
    bad = (*good[:-1], band)
    with pytest.raises(ValueError, match=r"learned: Band\(.* out of bounds"):
        AdaptiveSchedule(learned=Learned(bad))
    with pytest.raises(ValueError, match=r"learned: Band\(.* out of bounds"):
        AdaptiveSchedule(learned=Learned(good, (LearnedKind("V_3_0", None, None, bad),)))
    for name in ("stray", "begun"):
        with pytest.raises(ValueError, match=r"learned: Band\(.* out of bounds"):
            straight(**{name: band})


def test_learning_of_another_shape_is_refused() -> None:
    """Bands of another number come from another version."""
    with pytest.raises(ValueError, match=f"6 bands, expected {len(EDGES) + 1}"):
        AdaptiveSchedule(learned=Learned(tuple(Pools(None).all.bands[:-1])))


@pytest.fixture(scope="module")
def fixed() -> Curve:
    """Queries against lag of fixed intervals on workload B."""
    work = workload("B", 3, 1000)
    intervals = (0.1, 0.2, 0.35, 0.7, 1.4, 2.8)

    def cost(d: float) -> tuple[float, float]:
        return poll_blindly(work, lambda _n, _rng: d).point

    return Curve(map(cost, intervals))


@pytest.mark.parametrize(
    ("progress", "share", "lag", "polls"),
    [("absent", 0.8, 0.75, 12.0), ("linear", 0.15, 0.3, 5.5), ("lying", 0.9, 0.85, 12.0)],
)
def test_asks_seldom_and_knows_at_once(
    fixed: Curve, progress: str, share: float, lag: float, polls: float
) -> None:
    """On 1,000 default jobs it needs this share of the best fixed interval's queries."""
    cost = simulate(AdaptiveSchedule(), workload("B", 3, 1000), progress)
    assert cost.mean_lag <= lag
    assert cost.mean_polls <= polls
    assert cost.mean_polls <= share * fixed.polls(cost.mean_lag)


def test_a_delay_is_explained(caplog: pytest.LogCaptureFixture) -> None:
    """What a delay was made from is told in words, and logged at level DEBUG with the id."""
    caplog.set_level("DEBUG", logger="ideogram_async")
    schedule = straight()
    unseen, state = begin(schedule, fresh=False), begin(schedule, now=100.0)
    assert "not queried yet" in schedule.explain(unseen)
    assert re.fullmatch(
        r"0\.0 s old, of 14\.0 s \(9\.\d to 2\d\.\d\) that such requests take, "
        r"next query in \d\.\d s",
        schedule.explain(state),
    )
    schedule.next_delay(state, see(105.0, completion_percentage=30))
    delay = schedule.next_delay(state, see(107.0, completion_percentage=50, request_id="one"))
    words = schedule.explain(state)
    assert re.fullmatch(
        rf"linear, 50 %, end expected in [45]\.\d ± 0\.\d s, next query in {delay:.1f} s", words
    )
    assert caplog.messages[-1] == f"one: {words}"
    schedule.next_delay(state, see(114.0, completion_percentage=99))
    assert re.match(
        r"linear, 99 %, end was expected 1\.\d ± 0\.\d s ago, ", schedule.explain(state)
    )
    crooked = straight(stray=Band(32, 5.0, 9.0))
    state = begin(crooked)
    crooked.next_delay(state, see(10.0, completion_percentage=50))
    assert re.fullmatch(
        r"not linear, 50 %, end expected in 7\.\d s \(3\.\d to 1\d\.\d\), next query in \d\.\d s",
        crooked.explain(state),
    )


def test_it_is_a_schedule() -> None:
    """It satisfies the protocol."""
    schedule: Schedule[JobState] = AdaptiveSchedule(0.1)
    assert repr(schedule) == "AdaptiveSchedule(0.1)"

"""The line through a request's progress: the filter's formulas, its gate, its end."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._schedules.progress_line import (
    MOST_STRAY_VARIANCES,
    NOISE_PERCENT,
    NOISE_VARIANCE,
    LinePrior,
    ProgressLine,
)

PRIOR = LinePrior(20.0, 0.4, 0.1, 0.05**2)
"""Of a request of 20 s, ± 40 %, of which it waits 10 ± 5 %."""


def shown(*points: tuple[float, float], prior: LinePrior = PRIOR) -> ProgressLine:
    """Return the line through points of (seconds, percent)."""
    line = ProgressLine.through(*points[0], prior)
    for at, percentage in points[1:]:
        line.observe(at, percentage)
    return line


def test_a_point_as_expected_leaves_the_expected_end() -> None:
    """Half-way when it was expected to be, a request is expected to end when it was."""
    end, variance = shown((11.0, 50.0)).end()
    assert end == pytest.approx(20.0)
    assert 0.1 < math.sqrt(variance) < 1.2


def test_a_first_point_is_weighed_against_what_is_expected() -> None:
    """A request that is slower than expected is taken as such, by the logs of its pace."""
    ends = [shown((at, 40.0)).end()[0] for at in (4.0, 9.2, 25.0, 100.0)]
    assert ends == sorted(ends)
    assert ends[0] == pytest.approx(4 / 0.4, abs=2.0)
    assert ends[2] == pytest.approx(25 / 0.4, abs=6.0)
    assert ends[3] == pytest.approx(100 / 0.4, rel=0.3)


def test_a_point_weighs_by_its_precision() -> None:
    """The covariances after a point are the inverse of the summed precisions."""
    line, p = shown((2.5, 3.0)), 40.0
    noise = (NOISE_PERCENT * line.pace) ** 2 + NOISE_VARIANCE
    before = line.var_begun * line.var_pace - line.covariance**2
    begun = line.var_pace / before + 1 / noise
    begun_pace = -line.covariance / before + p / noise
    pace = line.var_begun / before + p * p / noise
    determinant = begun * pace - begun_pace**2
    line.observe(9.0, p)
    assert line.var_begun == pytest.approx(pace / determinant)
    assert line.var_pace == pytest.approx(begun / determinant)
    assert line.covariance == pytest.approx(-begun_pace / determinant)


def test_points_on_a_line_find_it() -> None:
    """A request that waits 3 s and takes 0.3 s per percent is known from a few points."""
    line = shown(*((3 + 0.3 * p, p) for p in (10, 30, 50, 70, 90)))
    end, variance = line.end()
    assert end == pytest.approx(33.0, abs=0.4)
    assert math.sqrt(variance) < 0.6


def test_a_second_point_sharpens_the_end() -> None:
    """Each point lessens the variance of the end."""
    points = [(2 + 0.18 * p, p) for p in (20, 50, 80)]
    lines = [shown(*points[:n]) for n in (1, 2, 3)]
    variances = [line.end()[1] for line in lines]
    assert variances == sorted(variances, reverse=True)
    assert [line.points for line in lines] == [1, 2, 3]


def test_a_point_off_the_line_gives_it_up() -> None:
    """A percentage beyond four deviations is none of a line, and no later one brings it back."""
    line = shown((11.0, 50.0))
    assert not line.is_given_up
    line.observe(40.0, 51.0)
    assert line.is_given_up
    assert line.stray(40.0, 1.0) == MOST_STRAY_VARIANCES


def test_straight_lines_stray_by_one() -> None:
    """Of noisy straight lines, the squared distance from the end is one variance on average."""
    rng, strays = random.Random(1), []
    for _ in range(400):
        begun = 20 * rng.gauss(0.1, 0.05)
        pace = max(0.18 * (1 + rng.gauss(0, 0.3)), 0.05)
        points = [(begun + pace * (p + rng.uniform(-2, 2)), p) for p in (25, 60)]
        line = shown(*points, prior=LinePrior(20.0, 0.3, 0.1, 0.05**2))
        strays.append(line.stray(begun + 100 * pace, 0.0))
    assert 0.6 <= statistics.fmean(strays) <= 1.4


def test_a_wide_look_strays_less() -> None:
    """An end that is known to a second only is held against that, too."""
    line = shown((11.0, 50.0), (15.0, 75.0))
    assert line.stray(20.2, 5.0) < line.stray(20.2, 0.1)


@given(
    duration=st.floats(0.01, 1e6),
    spread=st.floats(0.05, 1.5),
    share=st.floats(-1, 0.9),
    points=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1, 100)), min_size=1, max_size=12),
)
def test_any_points_leave_a_finite_line(
    duration: float, spread: float, share: float, points: list[tuple[float, float]]
) -> None:
    """Whatever was told, the end and its variance are finite, and the variance is above 0."""
    line = shown(*points, prior=LinePrior(duration, spread, share, 1.0))
    end, variance = line.end()
    assert math.isfinite(end)
    assert 0 < variance < math.inf
    assert 0 <= line.stray(end + 1, 1.0) <= MOST_STRAY_VARIANCES

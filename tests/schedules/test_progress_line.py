"""The line through a request's progress: the filter's formulas, its gate, its end."""

from __future__ import annotations

import math
import random
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._schedules.progress_line import (
    NOISE_PERCENT,
    NOISE_VARIANCE,
    STRAY_MOST,
    ProgressLine,
)


def expected_line() -> ProgressLine:
    """Return the line of a request of 20 ± 8 s, of which it waits 10 ± 5 %."""
    return ProgressLine.expected(20.0, 0.4, 0.1, 0.05**2)


def shown(line: ProgressLine, *points: tuple[float, float]) -> ProgressLine:
    """Return the line after points of (seconds, percent)."""
    for at, percentage in points:
        line.observe(at, percentage)
    return line


def test_expectation_is_the_prior() -> None:
    """Without a point the end is the expected duration, with the deviations of wait and pace."""
    end, variance = expected_line().end()
    assert end == pytest.approx(20.0)
    assert variance == pytest.approx(1.0**2 + (0.4 * 18.0) ** 2 + NOISE_VARIANCE)


def test_a_point_weighs_by_its_precision() -> None:
    """The covariances after a point are the inverse of the summed precisions."""
    line, p = expected_line(), 40.0
    noise = (NOISE_PERCENT * line.pace) ** 2 + NOISE_VARIANCE
    begun, begun_pace = 1 / line.var_begun + 1 / noise, p / noise
    pace = 1 / line.var_pace + p * p / noise
    determinant = begun * pace - begun_pace**2
    line.observe(9.0, p)
    assert line.var_begun == pytest.approx(pace / determinant)
    assert line.var_pace == pytest.approx(begun / determinant)
    assert line.covariance == pytest.approx(-begun_pace / determinant)


def test_points_on_a_line_find_it() -> None:
    """A request that waits 3 s and takes 0.3 s per percent is known from a few points."""
    line = shown(expected_line(), *((3 + 0.3 * p, p) for p in (10, 30, 50, 70, 90)))
    end, variance = line.end()
    assert end == pytest.approx(33.0, abs=0.4)
    assert math.sqrt(variance) < 0.6


def test_a_second_point_sharpens_the_end() -> None:
    """Each point lessens the variance of the end."""
    line = expected_line()
    variances = [shown(line, (2 + 0.18 * p, p)).end()[1] for p in (20, 50, 80)]
    assert variances == sorted(variances, reverse=True)
    assert line.points == 3


def test_a_point_off_the_line_gives_it_up() -> None:
    """A percentage beyond four deviations is none of a line, and no later one brings it back."""
    line = shown(expected_line(), (11.0, 50.0))
    assert not line.is_given_up
    line.observe(40.0, 51.0)
    assert line.is_given_up
    assert line.stray(40.0, 1.0) == STRAY_MOST


def test_straight_lines_stray_by_one() -> None:
    """Of noisy straight lines, the squared distance from the end is one variance on average."""
    rng, strays = random.Random(1), []
    for _ in range(400):
        begun = 20 * rng.gauss(0.1, 0.05)
        pace = max(0.18 * (1 + rng.gauss(0, 0.3)), 0.05)
        line = ProgressLine.expected(20.0, 0.3, 0.1, 0.05**2)
        for p in (25, 60):
            line.observe(begun + pace * (p + rng.uniform(-2, 2)), p)
        strays.append(line.stray(begun + 100 * pace, 0.0))
    assert 0.6 <= statistics.fmean(strays) <= 1.4


def test_a_wide_look_strays_less() -> None:
    """An end that is known to a second only is held against that, too."""
    line = shown(expected_line(), (11.0, 50.0), (15.0, 75.0))
    assert line.stray(20.2, 5.0) < line.stray(20.2, 0.1)


@given(
    duration=st.floats(0.01, 1e6),
    spread=st.floats(0.05, 1.5),
    share=st.floats(-1, 1),
    points=st.lists(st.tuples(st.floats(-1e6, 1e6), st.floats(1, 100)), max_size=12),
)
def test_any_points_leave_a_finite_line(
    duration: float, spread: float, share: float, points: list[tuple[float, float]]
) -> None:
    """Whatever was told, the end and its variance are finite, and the variance is above 0."""
    line = shown(ProgressLine.expected(duration, spread, share, 1.0), *points)
    end, variance = line.end()
    assert math.isfinite(end)
    assert 0 < variance < math.inf
    assert 0 <= line.stray(end + 1, 1.0) <= STRAY_MOST

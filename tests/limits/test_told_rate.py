"""A told rate: reached in spite of late timers, and never exceeded by more than was promised."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._limits.told_rate import MADE_UP_SECONDS, ToldRate


@given(
    st.sampled_from([0.1, 3.0, 50.0, 500.0]),
    st.lists(st.tuples(st.floats(0, 0.2), st.floats(0, 0.1), st.booleans()), max_size=60),
)
def test_no_span_holds_more_than_was_promised(
    rate: float, steps: list[tuple[float, float, bool]]
) -> None:
    """In any T seconds at most rate · (T + 0.05 s) + 1 queries go out, however late timers are."""
    limiter, now, times = ToldRate(rate), 1000.0, list[float]()
    for idle, lateness, waits in steps:
        if waits:
            limiter.wait(10)
        now = max(now + idle * (not waits), limiter.opens_at(now)) + lateness
        limiter.sent(now)
        times.append(now)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            span = times[last] - begin
            assert last - first + 1 <= rate * (span + MADE_UP_SECONDS) + 1 + 1e-6


def test_lateness_of_timers_is_made_up() -> None:
    """Where each timer is 1 ms late, 500 queries per second go out all the same."""
    limiter, now = ToldRate(500.0), 0.0
    for _ in range(1000):
        limiter.sent(now)
        limiter.wait(10)
        now = max(now, limiter.opens_at(now)) + 0.001
    assert now <= 2.02


def test_a_hold_closes_a_told_rate() -> None:
    """A hold that another process asks for is kept, and the shorter of two changes nothing."""
    limiter = ToldRate(10.0)
    limiter.hold(7.0, 1.0)
    limiter.hold(3.0, 1.0)
    assert limiter.opens_at(1.0) == 7.0


def test_a_rate_that_changes_keeps_what_was_sent_too_soon() -> None:
    """A query that waits for a half of its turn waits for a half of the new one, and no burst."""
    limiter = ToldRate(0.1)
    limiter.sent(100.0)
    assert limiter.opens_at(100.0) == 110.0
    limiter.change_rate(10.0, 105.0)
    assert limiter.opens_at(105.0) == pytest.approx(105.05)
    limiter.change_rate(1.0, 200.0)
    limiter.sent(200.0)
    assert limiter.opens_at(200.0) == pytest.approx(201.0)

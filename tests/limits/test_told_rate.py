"""A told rate: reached in spite of late timers, and never exceeded by more than was promised."""

from __future__ import annotations

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
            limiter.wait()
        now = max(now + idle * (not waits), limiter.opens_at) + lateness
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
        limiter.wait()
        now = max(now, limiter.opens_at) + 0.001
    assert now <= 2.02

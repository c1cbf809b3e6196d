"""When the circuit breaker of a session opens and closes."""

from __future__ import annotations

from ideogram_async._limits.circuit_breaker import CircuitBreaker


def test_an_answer_to_a_newcomer_opens_the_session_at_once() -> None:
    """What closes the breaker before the next probe's time does not wait for that time."""
    breaker = CircuitBreaker()
    breaker.failed(0.0, 0.1, is_row=True, is_probe=False)
    assert breaker.probing
    assert breaker.open_until > 5.0
    breaker.newcomers.sent(0.3)
    assert breaker.succeeded(0.3)
    assert not breaker.probing
    assert breaker.open_until < 0.3


def _fail(breaker: CircuitBreaker, *times: float, is_probe: bool = False) -> None:
    for asked in times:
        breaker.failed(asked, asked, is_row=False, is_probe=is_probe)


def test_few_failures_open_no_breaker() -> None:
    """Four over a while, or five of one moment, however long ago the row before began."""
    breaker = CircuitBreaker()
    _fail(breaker, 0.0, 1.0, 2.0, 3.0)
    assert not breaker.succeeded(4.0), "it was closed before"
    _fail(breaker, *[100.0] * 5)
    assert not breaker.probing


def test_three_probes_over_a_while_make_an_outage() -> None:
    """Neither two over a long time nor many within a moment do; an answer ends it."""
    breaker = CircuitBreaker()
    breaker.failed(0.0, 0.0, is_row=True, is_probe=False)
    _fail(breaker, 6.0, 30.0, is_probe=True)
    assert not breaker.is_outage(40.0), "two are few"
    breaker.succeeded(41.0)
    breaker.failed(50.0, 50.0, is_row=True, is_probe=False)
    _fail(breaker, 60.0, 61.0, 62.0)
    assert not breaker.is_outage(70.0), "it is not long"
    assert breaker.is_outage(75.0)
    breaker.succeeded(76.0)
    assert not breaker.is_outage(77.0)

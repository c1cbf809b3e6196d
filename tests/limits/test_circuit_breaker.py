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

"""What the session of one key makes of outcomes, and when it may send."""

from __future__ import annotations

import math

import pytest

from ideogram_async import APIConnectionError, AuthenticationError, RateLimitError
from ideogram_async._limits.pool import SessionPool
from ideogram_async._limits.session import (
    FIRST_ROOM,
    REFUSED_SECONDS,
    UNPROVEN_HOLD_ACCEPTED,
    UNPROVEN_HOLD_SECONDS,
    KeySession,
)
from ideogram_async._limits.told_rate import ToldRate
from tests.support.settings import settled

DOWN = APIConnectionError("refused")
REFUSED = AuthenticationError("401", status=401)


@pytest.fixture
def session() -> KeySession:
    """Make the session of the only key, with default settings."""
    return SessionPool(settled(token="key")).sessions[0]


def throttle(
    session: KeySession, now: float, *, wait: float | None = None, is_known: bool = True
) -> bool:
    """Refuse a query that was sent just before."""
    error = RateLimitError("429", status=429, retry_after=wait)
    return session.throttled(error, now, now, is_known=is_known)


def fail(session: KeySession, now: float, *, is_row: bool = True) -> None:
    """Let a query fail by the gateway's fault."""
    session.failed(DOWN, now, now, is_row=is_row, is_doubtful=False)


def opens_at(session: KeySession, now: float) -> float:
    """Return when it may send an ordinary query."""
    return session.opens_at(now, immediate=False)


# Room


def test_room_grows_with_answers_and_shrinks_with_limits_and_outages(session: KeySession) -> None:
    """A first refusal, or an outage that ends, lets few go at once; a later one not."""
    for number in range(FIRST_ROOM):
        assert opens_at(session, number) <= number
        session.sent(number, immediate=False)
    assert opens_at(session, 9.0) == math.inf
    session.returned()
    assert opens_at(session, 9.0) <= 9.0
    for _ in range(10):
        session.answered(9.0, 9.0)
    assert session.room == FIRST_ROOM + 10
    assert throttle(session, 10.0)
    assert session.room == FIRST_ROOM
    session.answered(9.9, 11.0)
    session.throttled(RateLimitError("429"), 9.9, 11.0, is_known=True)
    assert session.room == FIRST_ROOM + 1, "it was sent before the first refusal came"
    session.follow(21.0, 20.0)
    assert throttle(session, 30.0)
    assert session.room == FIRST_ROOM + 1, "the limit was known"
    fail(session, 40.0)
    session.answered(50.0, 50.0)
    assert session.room == FIRST_ROOM


def test_an_immediate_query_has_no_pace_until_a_limit_is_known(session: KeySession) -> None:
    """It neither waits for the pace nor counts for it."""
    for is_limited in (False, True):
        session.sent(10.0, immediate=False)
        at_once, paced = session.opens_at(10.0, immediate=True), opens_at(session, 10.0)
        assert paced > 10.0
        assert (at_once == paced) is is_limited
        session.sent(10.0, immediate=True)
        assert (opens_at(session, 10.0) > paced) is is_limited
        session.follow(9.0, 8.0)


# Probes


def test_one_probe_at_a_time(session: KeySession) -> None:
    """Until it has an outcome nothing else is sent, and the outcome of another query is none."""
    fail(session, 0.0)
    probed_at = opens_at(session, 0.0)
    assert 5.0 <= probed_at <= 5.5
    session.sent(probed_at, immediate=False)
    assert opens_at(session, 99.0) == math.inf
    session.neutral(1.0, probed_at)
    assert opens_at(session, 99.0) == math.inf
    session.failed(DOWN, probed_at, 10.0, is_row=False, is_doubtful=False)
    assert opens_at(session, 10.0) >= 20.0, "it was the probe that failed"
    session.sent(25.0, immediate=False)
    session.answered(24.0, 26.0)
    fail(session, 27.0)
    assert opens_at(session, 27.0) < math.inf, "that probe tells nothing of another outage"


@pytest.mark.parametrize("accepted", [False, True])
def test_a_fault_of_an_id_closes_the_breaker_where_it_was_read(
    session: KeySession, *, accepted: bool
) -> None:
    """An answer that an id is unknown shows a gateway that works; a broken one does not."""
    session.sent(0.0, immediate=False)
    session.neutral(0.0, 0.0)
    assert opens_at(session, 1.0) <= 1.0, "another one may be sent beside it"
    fail(session, 0.0)
    session.neutral(6.0, 6.0, accepted=accepted)
    assert (session.state == "open") is accepted
    assert session.refused == 0
    session.neutral(7.0, 7.0, refused=True)
    assert session.refused == 1


def test_new_ids_beside_the_probes(session: KeySession) -> None:
    """Of an outage, or of a hold that new ids caused; not while the key itself is in question."""
    assert session.newcomer_at == math.inf
    fail(session, 0.0)
    assert session.newcomer_at == 0.0
    session.sent_newcomer(0.0)
    assert 0.0 < session.newcomer_at < 1.0
    for name in ("one", "two"):
        session.refused_key(name, REFUSED, 1.0, 1.0, alone=False)
        fail(session, 2.0)
        assert session.newcomer_at == math.inf


def probe(session: KeySession, *, is_known: bool = False) -> float:
    """Refuse a probe, as soon as one may be sent; return when that is."""
    now = opens_at(session, 0.0)
    session.sent(now, immediate=False)
    assert throttle(session, now, is_known=is_known)
    return now


def test_new_ids_beside_a_hold_that_new_ids_caused(session: KeySession) -> None:
    """From the first probe on that is refused for a new id; their own refusals change nothing."""
    throttle(session, 0.0, is_known=False)
    assert throttle(session, 0.1, is_known=False)
    probe(session, is_known=True)
    assert session.newcomer_at == math.inf
    probed_at = probe(session)
    assert session.newcomer_at == probed_at
    session.sent_newcomer(probed_at)
    newcomer_at = session.newcomer_at
    assert newcomer_at > probed_at
    held_until = session.held_until
    assert not throttle(session, probed_at + 0.1, is_known=False)
    assert session.held_until == held_until
    probe(session)
    assert session.newcomer_at == newcomer_at
    session.answered(session.held_until, session.held_until)
    assert session.newcomer_at == math.inf
    throttle(session, 99.0, is_known=False)
    assert session.newcomer_at == math.inf


def test_a_new_ids_refusal_after_an_outage_begins_a_hold(session: KeySession) -> None:
    """The probe of an outage is none of that hold's: no other new id goes beside it yet."""
    fail(session, 0.0)
    probe(session)
    assert session.newcomer_at == math.inf


# Holds


def test_a_retry_after_holds_a_key_by_who_it_is_told_to(session: KeySession) -> None:
    """To a known id in full; to a new one for 5 s, or until three queries are accepted."""
    throttle(session, 0.0, wait=60.0, is_known=False)
    assert UNPROVEN_HOLD_SECONDS <= session.held_until <= 1.1 * UNPROVEN_HOLD_SECONDS
    for _ in range(UNPROVEN_HOLD_ACCEPTED):
        assert session.held_until > 1.0
        assert session.state == "throttled"
        session.answered(1.0, 1.0)
    assert session.held_until <= 1.0
    assert session.state == "open"
    throttled = RateLimitError("429", retry_after=60.0)
    session.throttled(throttled, -1.0, 2.0, is_known=False)
    assert session.held_until < 3.0, "it was sent before the key was held"
    throttle(session, 10.0, wait=60.0)
    assert session.held_until >= 70.0
    for _ in range(UNPROVEN_HOLD_ACCEPTED):
        session.answered(9.0, 11.0)
    assert session.held_until >= 70.0


@pytest.mark.parametrize("is_confirmed", [False, True])
def test_a_cut_that_ids_of_their_own_caused_is_taken_back(
    session: KeySession, *, is_confirmed: bool
) -> None:
    """Not where one of them is answered: then it was the rate."""
    for number in range(100):
        session.sent(number / 10, immediate=False)
        session.answered(number / 10, number / 10)
    before = session.limiter.rate
    throttle(session, 11.0)
    session.answered(20.0, 20.0)
    assert session.limiter.rate < before
    if is_confirmed:
        session.confirmed()
    session.acquitted(21.0)
    assert (session.limiter.rate == before) is not is_confirmed


# A refused key


def test_a_key_is_refused_where_two_ids_are(session: KeySession) -> None:
    """What was sent before it went out of use tells nothing; a later query tries it in vain."""
    session.sent(0.0, immediate=False)
    assert not session.refused_key("one", REFUSED, 1.0, 1.1, alone=False)
    assert session.refusal is None
    assert opens_at(session, 2.0) == math.inf, "what is under way checks it"
    session.returned()
    session.update(1.2)
    assert opens_at(session, 2.0) <= 2.0
    assert session.refused_key("two", REFUSED, 1.5, 2.0, alone=False)
    assert (session.state, opens_at(session, 3.0)) == ("refused", 2.0 + REFUSED_SECONDS)
    assert not session.refused_key("three", REFUSED, 1.5, 3.0, alone=False)
    assert session.suspicion is None
    session.answered(1.4, 3.0)
    assert session.refusal is not None
    assert session.refused_key("one", REFUSED, 62.0, 63.0, alone=False)
    assert opens_at(session, 63.0) == 63.0 + REFUSED_SECONDS
    session.retry(70.0)
    assert opens_at(session, 70.0) <= 70.0
    session.sent(70.0, immediate=False)
    assert opens_at(session, 70.0) == math.inf
    session.answered(70.0, 71.0)
    assert (session.state, session.reason, session.refused) == ("open", None, 4)


def test_a_suspicion_is_cleared_by_an_answer_that_was_asked_no_earlier(session: KeySession) -> None:
    """One that was under way before tells nothing of the key's refusal."""
    session.refused_key("one", REFUSED, 5.0, 5.1, alone=False)
    session.answered(4.0, 5.2)
    assert session.suspicion is not None
    assert str(session.reason) == "401"
    session.answered(5.0, 5.3)
    assert session.suspicion is None


@pytest.mark.parametrize(
    ("has_worked", "is_alone", "times", "decides"),
    [
        (False, True, (0.0,), True),
        (False, False, (0.0, 3.0, 6.0), False),
        (True, True, (0.0, 3.0, 6.0), True),
        (True, True, (0.0, 1.0, 2.0, 3.0), False),
        (True, True, (0.0, 6.0), False),
    ],
)
def test_refusals_of_one_id_alone(
    session: KeySession,
    times: tuple[float, ...],
    *,
    has_worked: bool,
    is_alone: bool,
    decides: bool,
) -> None:
    """They decide where there is no other id: at once, or three over 5 s if the key has worked."""
    if has_worked:
        session.answered(-1.0, -1.0)
    *before, last = [session.refused_key("id", REFUSED, now, now, alone=is_alone) for now in times]
    assert not any(before)
    assert last is decides


# Figures


def test_the_state_of_a_session_and_its_next_try(session: KeySession) -> None:
    """The key's refusal counts before an outage, that before a hold."""
    told, figures = ToldRate(10.0), session.statistics(0.0, None)
    assert (figures.state, figures.next_try, figures.rate) == ("open", 0.0, None)
    assert not figures.limit_certain
    assert session.statistics(0.0, told).rate == told.rate
    assert session.statistics(0.0, told).limit_certain
    throttle(session, 0.0)
    figures = session.statistics(0.0, None)
    assert (figures.state, figures.reason) == ("throttled", "429")
    assert 0.0 < figures.next_try == figures.held
    session.follow(0.0, 0.0)
    assert session.statistics(99.0, told).state == "throttled", "no probe was accepted yet"
    assert session.statistics(0.0, told).rate == session.limiter.rate
    assert not session.statistics(0.0, told).limit_certain
    fail(session, 0.0)
    figures = session.statistics(1.0, None)
    assert (figures.state, figures.reason) == ("broken", "refused")
    assert 4.0 <= figures.next_try <= 4.5
    session.sent(6.0, immediate=False)
    assert session.statistics(6.0, None).next_try == 0.0, "it is being tried"
    session.returned()
    for name in ("one", "two"):
        session.refused_key(name, REFUSED, 6.0, 7.0, alone=False)
    assert session.statistics(8.0, None).next_try == REFUSED_SECONDS - 1.0
    fail(session, 9.0)
    assert (session.statistics(9.0, None).state, session.reason) == ("refused", "401")


def test_first_faults_are_logged_but_not_often(
    session: KeySession, caplog: pytest.LogCaptureFixture
) -> None:
    """A line for the first since a good answer, at most one in 5 s."""
    for now in (0.0, 0.5, 1.0, 9.0, 9.5, 10.0):
        if now in {0.5, 9.5}:
            session.answered(now, now)
        else:
            error = APIConnectionError(f"failed at {now:g}")
            session.failed(error, now, now, is_row=False, is_doubtful=False)
    told = [record.getMessage() for record in caplog.records]
    assert told == ["session 0: failed at 0", "session 0: failed at 10"]

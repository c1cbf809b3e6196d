"""Whose fault a fault is: each of the numbered cases, and each number in them."""

from __future__ import annotations

import pytest

from ideogram_async import APIConnectionError
from ideogram_async._polling.attribution import (
    ADDRESS_SECONDS,
    ADDRESS_TRIES,
    ALL_UNKNOWN_SECONDS,
    GOOD_ANSWERS_OF_OTHERS,
    GOOD_ANSWERS_WITHOUT_DOUBT,
    GOOD_PER_COUNTED_FAULT,
    KNOWN_ASKED_IN_DOUBT,
    NAME_SECONDS,
    NEWCOMERS_IN_A_ROW,
    PASSING_SECONDS,
    REFUSALS_FORGIVEN,
    REFUSALS_MISSED,
    Evidence,
    FaultHistory,
    Scope,
    attribute,
    is_passing,
)
from ideogram_async._protocol.outcome import Fault, FaultKind

AMBIGUOUS = (FaultKind.TRANSIENT, FaultKind.TIMEOUT, FaultKind.THROTTLED)


class Case:
    """The evidence of one key, and faults that are judged by it."""

    def __init__(self) -> None:
        self.evidence = Evidence()
        self.now = 0.0

    def good(self, times: int = 1, *, is_known: bool = False) -> None:
        """Record good answers, each to a query that was sent just before."""
        for _ in range(times):
            self.evidence.answered(0, self.now, self.now, is_known=is_known)

    def fault(
        self,
        kind: FaultKind,
        *,
        is_known: bool = False,
        is_alone: bool = False,
        has_known: bool = False,
        history: FaultHistory | None = None,
        asked: float | None = None,
        request_id: str = "id",
    ) -> Scope:
        """Return what a fault is charged to."""
        self.evidence.failed(kind, request_id, self.now)
        return attribute(
            Fault(kind, APIConnectionError("a fault")),
            history or FaultHistory(),
            self.evidence,
            0,
            self.now if asked is None else asked,
            is_known=is_known,
            is_alone=is_alone,
            has_known=has_known,
        )

    def failed_before(self) -> FaultHistory:
        """Return the history of an id whose first fault comes now."""
        of_key = self.evidence.of(0)
        return FaultHistory(faults=1, good_then=of_key.good, counted_then=of_key.counted)


@pytest.fixture
def case() -> Case:
    """Nothing was asked so far."""
    return Case()


@pytest.mark.parametrize(
    ("kind", "scope"),
    [
        (FaultKind.LOCAL, Scope.LOCAL),
        (FaultKind.EXHAUSTED, Scope.NOBODY),
        (FaultKind.CONNECTION, Scope.GATEWAY),
        (FaultKind.REFUSED, Scope.KEY),
        (FaultKind.UNKNOWN_ID, Scope.ID),
        (FaultKind.MALFORMED, Scope.ID),
    ],
)
def test_clear_faults(case: Case, kind: FaultKind, scope: Scope) -> None:
    """Some kinds say whose they are, whatever else was seen."""
    assert case.fault(kind) is scope
    case.good(100)
    assert case.fault(kind, is_known=True) is scope


def test_a_name_that_does_not_exist(case: Case) -> None:
    """It is the address's after some look-ups over 30 s, unless it was ever found."""
    for _ in range(ADDRESS_TRIES):
        assert case.fault(FaultKind.UNKNOWN_HOST) is Scope.GATEWAY
    case.now = NAME_SECONDS
    assert case.fault(FaultKind.UNKNOWN_HOST) is Scope.ADDRESS
    case.good()
    assert case.fault(FaultKind.UNKNOWN_HOST) is Scope.GATEWAY


def test_a_wrong_address(case: Case) -> None:
    """A redirect is the address's once another id had it, too, or where there is no other."""
    assert case.fault(FaultKind.ADDRESS, request_id="one") is not Scope.ADDRESS
    assert case.fault(FaultKind.ADDRESS, request_id="one", is_alone=True) is Scope.ADDRESS
    assert case.fault(FaultKind.ADDRESS, request_id="two") is Scope.ADDRESS
    case.good()
    assert case.fault(FaultKind.ADDRESS, request_id="two", is_known=True) is Scope.GATEWAY


def test_a_doubtful_address(case: Case) -> None:
    """Web pages must come for 10 s, and the gateway must never have answered well."""
    for _ in range(ADDRESS_TRIES):
        assert case.fault(FaultKind.DOUBTFUL_ADDRESS) is not Scope.ADDRESS
    case.now = ADDRESS_SECONDS
    assert case.fault(FaultKind.DOUBTFUL_ADDRESS) is Scope.ADDRESS
    case.good()
    assert case.fault(FaultKind.DOUBTFUL_ADDRESS, is_known=True) is Scope.GATEWAY


def test_a_timeout_that_was_overtaken(case: Case) -> None:
    """Where a query that was sent later was answered, the gateway works."""
    case.now = 1.0
    case.good()
    assert case.fault(FaultKind.TIMEOUT, is_known=True, asked=0.5) is Scope.ID
    assert case.fault(FaultKind.TIMEOUT, is_known=True, asked=1.5) is Scope.GATEWAY


def test_a_late_answer_hides_no_later_one(case: Case) -> None:
    """An answer to a query that was sent earlier tells nothing of those that were sent since."""
    case.now = 1.0
    case.good()
    for _ in range(NEWCOMERS_IN_A_ROW - 1):
        assert case.fault(FaultKind.TRANSIENT) is Scope.ID
    case.now = 0.2
    case.good()
    assert case.fault(FaultKind.TIMEOUT, is_known=True, asked=0.5) is Scope.ID
    case.now = 1.0
    assert case.fault(FaultKind.TRANSIENT) is Scope.GATEWAY, "the row goes on"


def test_faults_that_a_good_answer_overtook_are_no_row(case: Case) -> None:
    """A whole flight of new ids may fail: where a query sent later was answered, it is theirs."""
    case.now = 1.0
    case.good()
    for _ in range(NEWCOMERS_IN_A_ROW):
        assert case.fault(FaultKind.TRANSIENT, asked=0.5) is Scope.ID


def test_what_another_key_has_shown(case: Case) -> None:
    """A fault with one key is no repeat of a fault with another: its limit may be another one."""
    case.evidence = Evidence(2)
    history = FaultHistory(faults=1, key=1)
    case.good(GOOD_ANSWERS_OF_OTHERS)
    assert case.fault(FaultKind.THROTTLED, is_known=True, history=history) is Scope.LIMIT
    history.key = 0
    assert case.fault(FaultKind.THROTTLED, is_known=True, history=history) is Scope.ID


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_known_ids_first_fault(case: Case, kind: FaultKind) -> None:
    """It tells of the key's rate, or of the gateway."""
    case.good()
    scope = case.fault(kind, is_known=True)
    assert scope is (Scope.LIMIT if kind is FaultKind.THROTTLED else Scope.GATEWAY)


@pytest.mark.parametrize("kind", AMBIGUOUS)
def test_a_repeat(case: Case, kind: FaultKind) -> None:
    """It is the id's own once three others were answered, and three for each counted fault."""
    history = case.failed_before()
    case.good(GOOD_ANSWERS_OF_OTHERS - 1)
    assert case.fault(kind, is_known=True, history=history) is not Scope.ID
    case.good()
    assert case.fault(kind, is_known=True, history=history) is Scope.ID
    case.evidence.of(0).counted += 2
    assert case.fault(kind, is_known=True, history=history) is not Scope.ID
    case.good(2 * GOOD_PER_COUNTED_FAULT - GOOD_ANSWERS_OF_OTHERS)
    assert case.fault(kind, is_known=True, history=history) is Scope.ID


@pytest.mark.parametrize("kind", [FaultKind.TRANSIENT, FaultKind.TIMEOUT])
def test_newcomers(case: Case, kind: FaultKind) -> None:
    """First faults of ids that were never answered are theirs, up to twelve in a row."""
    for _ in range(NEWCOMERS_IN_A_ROW - 1):
        assert case.fault(kind) is Scope.ID
    assert case.fault(kind) is not Scope.ID
    case.good()
    assert case.fault(kind) is Scope.ID


def test_refusals_that_are_forgiven(case: Case) -> None:
    """Only so many refusals of newcomers are: a limit refuses on. Known ids' answers allow more."""
    for _ in range(REFUSALS_FORGIVEN):
        case.good()
        assert case.fault(FaultKind.THROTTLED) is Scope.ID
    case.good()
    assert case.fault(FaultKind.THROTTLED) is Scope.LIMIT
    case.good(2, is_known=True)
    assert case.fault(FaultKind.THROTTLED) is Scope.ID


def test_refusals_of_new_ids_that_known_ones_are_spared(case: Case) -> None:
    """Where new ids are refused and known ones are not, often enough, it is the new ids' own."""
    assert case.fault(FaultKind.THROTTLED, is_known=True) is Scope.LIMIT
    case.good(2 * REFUSALS_MISSED, is_known=True)
    assert case.fault(FaultKind.THROTTLED, has_known=True) is Scope.LIMIT, "one tells little"
    case.good(2 * REFUSALS_MISSED, is_known=True)
    for _ in range(2 * REFUSALS_FORGIVEN):
        assert case.fault(FaultKind.THROTTLED) is Scope.ID
    assert case.evidence.of(0).refuses_only_new
    assert case.fault(FaultKind.THROTTLED, is_known=True) is Scope.LIMIT
    assert case.fault(FaultKind.THROTTLED) is Scope.LIMIT


@pytest.mark.parametrize(("refused", "asked"), [(2, KNOWN_ASKED_IN_DOUBT), (24, 5)])
def test_known_ids_are_asked_in_doubt(case: Case, refused: int, asked: int) -> None:
    """A new id's refusal is checked by known ids: a dozen, or as many as tell whose it is."""
    assert case.fault(FaultKind.THROTTLED) is Scope.ID
    assert not case.evidence.is_in_doubt, "there is no known id"
    case.good(8)
    for _ in range(refused - 1):
        assert case.fault(FaultKind.THROTTLED, has_known=True) is Scope.ID
    for _ in range(asked):
        assert case.evidence.is_in_doubt
        case.good(is_known=True)
    assert not case.evidence.is_in_doubt


def test_a_known_id_that_is_refused_ends_the_doubt(case: Case) -> None:
    """It is a limit, which refuses new ids, too, until many answers were good."""
    assert case.fault(FaultKind.THROTTLED, has_known=True) is Scope.ID
    assert case.evidence.is_in_doubt
    assert case.fault(FaultKind.THROTTLED, is_known=True) is Scope.LIMIT
    assert not case.evidence.is_in_doubt
    assert case.fault(FaultKind.THROTTLED, has_known=True) is Scope.LIMIT
    assert not case.evidence.is_in_doubt
    case.good(GOOD_ANSWERS_WITHOUT_DOUBT)
    assert case.fault(FaultKind.THROTTLED, has_known=True) is Scope.ID
    assert case.evidence.is_in_doubt


def test_refusals_in_dispute(case: Case) -> None:
    """They are settled one by one as the ids' own, or all at once as a limit's."""
    of_key = case.evidence.of(0)
    for _ in range(3):
        of_key.counted += 1
        of_key.disputed()
    of_key.acquitted()
    assert (of_key.counted, of_key.disputes) == (2, 2)
    of_key.confirmed()
    of_key.acquitted()  # the id was refused by the limit first, and then turned sick
    assert (of_key.counted, of_key.disputes) == (1, 0)


@pytest.mark.parametrize("accusers", [1, 2, 3, 8])
def test_one_id_of_several_does_not_acquit_the_rate(case: Case, accusers: int) -> None:
    """All ids whose refusals were charged to it must prove sick, or three and none be answered."""
    of_key = case.evidence.of(0)
    for _ in range(accusers):
        of_key.charged()
    of_key.confirmed()
    for _ in range(accusers):
        of_key.charged()
    proofs = [of_key.acquitted() for _ in range(min(accusers, 3))]
    assert proofs == [False] * (len(proofs) - 1) + [True]


def test_what_may_pass(case: Case) -> None:
    """Whether "unknown" may pass: of all ids, of one that was answered well, of any other."""

    def passes(seconds: float, *, is_known: bool = False, is_alone: bool = False) -> bool:
        return is_passing(history, case.evidence, seconds, is_known=is_known, is_alone=is_alone)

    history = FaultHistory(since=0.0)
    case.fault(FaultKind.UNKNOWN_ID)
    assert passes(ALL_UNKNOWN_SECONDS - 1)
    assert not passes(ALL_UNKNOWN_SECONDS)
    case.now = -1.0
    case.good()
    assert passes(ALL_UNKNOWN_SECONDS - 1)  # no other was answered since
    assert not passes(ALL_UNKNOWN_SECONDS - 1, is_alone=True)
    assert passes(PASSING_SECONDS, is_known=True)
    assert passes(PASSING_SECONDS - 1, is_known=True, is_alone=True)
    assert not passes(PASSING_SECONDS, is_known=True, is_alone=True)
    case.now = 1.0
    case.good()
    assert not passes(2.0)
    assert passes(PASSING_SECONDS - 1, is_known=True)
    assert not passes(PASSING_SECONDS, is_known=True)

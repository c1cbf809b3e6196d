"""What a fault is charged to: an id, a key, the gateway, the address, or this process.

Evidence comes first, then the verdict: every fault is charged to the narrowest scope that explains
it. A known id is one that was answered well before, a new id one that was not. A refusal is a 429
or a 503. `attribute` lists the cases; breaker, limiter, keys and errors see only its result.

Nothing here logs, reads a clock or does I/O. `now` and `asked` are seconds on the event loop's
clock; `asked` is when the query was sent.
"""

from __future__ import annotations

import enum
import math

import msgspec

from ideogram_async._errors import RequestError
from ideogram_async._protocol.outcome import Fault, FaultKind

GOOD_ANSWERS_OF_OTHERS = 3
"""Good answers of other ids since an id's last fault, after which its next fault is its own."""
GOOD_PER_COUNTED_FAULT = 3
"""… and so many of them for each fault that was charged to the key or the gateway since then."""
NEWCOMERS_IN_A_ROW = 12
"""First faults of new ids in a row, with no good answer in between, from which they are the
gateway's or the rate's: so many are no coincidence, even where most ids of a batch are sick."""
REFUSALS_FORGIVEN = 12
"""First refusals of new ids that are taken for their own where no known id is pending. Each good
answer for a known id allows one more: a batch may hold some sick ids, but a limit goes on."""
SHARE_WEIGHT = 4
"""Added to the answers for new ids when the share of refusals among them is computed: a single
refusal tells little."""
REFUSALS_MISSED = 3
"""Were known ids refused as often as new ones, so many refusals would be expected among the good
answers for known ids in a row: from then on, refusals of new ids are their own."""
KNOWN_ASKED_IN_DOUBT = 12
"""Known ids that are asked before all others, at the pace, where a new id's refusal may be the
rate's: as many, or fewer if they suffice to tell, see `REFUSALS_MISSED`."""
GOOD_ANSWERS_WITHOUT_DOUBT = 100
"""Good answers after a known id's refusal in which a new id's refusal is the rate's, unchecked."""
SICK_ACCUSERS = 3
"""Ids whose refusals were charged to the rate and were their own, while none of those charged was
answered: so many show that the rate is right. At a limit the next query of some is accepted."""
ADDRESS_TRIES = 3
ADDRESS_SECONDS = 10.0
"""Web pages and the like, and seconds from the first to the last, from which the run ends."""
NAME_SECONDS = 30.0
"""The same for look-ups of a name that does not exist: as many, over so many seconds."""
PASSING_SECONDS = 60.0
"""Seconds in which an id that was answered well before may be called unknown or answered badly."""
ALL_UNKNOWN_SECONDS = 30.0
"""Seconds in which a gateway that never answered well may call every id unknown."""


class Scope(enum.Enum):
    """What a fault is charged to."""

    LOCAL = "this process: the id fails at once"
    NOBODY = "nobody: the id is asked again"
    ID = "this id: it backs off alone"
    LIMIT = "the rate of the key"
    KEY = "the key itself"
    GATEWAY = "the gateway as a whole"
    ADDRESS = "the address: nothing there takes queries, and the run ends"


class FaultHistory(msgspec.Struct, gc=False):
    """The faults of an id in a row; a good answer for it ends the row."""

    faults: int = 0
    """Faults in a row, except those without a connection: the gateway has not seen the id then."""
    tries: int = 0
    """Queries without a good answer, whoever's fault that was."""
    since: float = math.inf
    """When the first of them came."""
    due: float = math.inf
    """When the query that had it was due."""
    key: int = 0
    good_then: int = 0
    counted_then: int = 0
    """The key of its last fault, and that key's good answers and counted faults as of then."""
    unknown: int = 0
    """Answers that the gateway does not know the id, far enough apart to count."""
    unknown_at: float = -math.inf
    malformed: int = 0
    is_charged: bool = False
    """Whether one of its refusals was charged to the rate."""
    refusals: dict[int, int] | None = None
    """By key: how often it refused the id, far enough apart, while others were answered."""
    refused_at: float = -math.inf
    error: RequestError | None = None
    """The last fault, in words."""


class KeyEvidence:
    """What the queries with one key have shown: a limit, or a failure, may be that key's alone."""

    def __init__(self) -> None:
        self.forgivable: int = REFUSALS_FORGIVEN
        """First refusals of new ids that will be taken for their own; negative: none."""
        self.good: int = 0
        """Good answers."""
        self.counted: int = 0
        """First faults in a row of ids that were charged to the key or the gateway."""
        self.last_good_asked: float = -math.inf
        """When the latest query that was answered well was sent."""
        self.newcomers_in_a_row: int = 0
        """First faults of new ids since a good answer."""
        self.doubt: int = 0
        """Known ids that should be asked before others, to learn whether they are refused, too."""
        self.disputes: int = 0
        """Holds that known ids' refusals caused and that no answer has settled: their next answers
        tell whether it was the rate, or they have turned sick."""
        self._known_in_a_row = self._new_answered = self._new_refused = 0
        self._certain_until = self._accusers = self._sick = 0

    def answered(self, asked: float, *, is_known: bool) -> None:
        """Record a good answer."""
        self.good += 1
        if asked >= self.last_good_asked:
            self.last_good_asked = asked
            self.newcomers_in_a_row = 0
        if is_known:
            self._known_in_a_row += 1
            if self.doubt:
                self.doubt = 0 if self.refuses_only_new else self.doubt - 1
            if self.forgivable < REFUSALS_FORGIVEN:
                self.forgivable += 1
        else:
            self._new_answered += 1

    def count_fault(self) -> None:
        """Record an id's first fault in a row that is charged to the key or the gateway."""
        self.counted += 1

    def disputed(self) -> None:
        """Record that a known id's refusal holds the key, which may be the id's own fault."""
        self.disputes += 1

    def confirmed(self) -> None:
        """Record that an id is answered whose refusal was charged to the rate: it was the rate."""
        self.disputes = self._accusers = self._sick = 0

    def charged(self) -> None:
        """Record that an id's first refusal is charged to the rate."""
        self._accusers += 1

    def acquitted(self) -> bool:
        """Record that an id's own refusals were charged to the rate; return whether all were such.

        Three ids that proved sick, and none that was answered, stand for all others.
        """
        self.counted -= 1
        self.disputes = max(self.disputes - 1, 0)
        self._sick += 1
        if self._sick < min(self._accusers, SICK_ACCUSERS):
            return False
        self._accusers = self._sick = 0
        return True

    def tells_apart(self, history: FaultHistory) -> bool:
        """Return whether the next fault of an id that failed with this key will be its own.

        Enough other ids must have been answered well since its last fault.
        """
        good, counted = self.good - history.good_then, self.counted - history.counted_then
        return good >= max(GOOD_ANSWERS_OF_OTHERS, GOOD_PER_COUNTED_FAULT * counted)

    @property
    def refuses_only_new(self) -> bool:
        """Whether known ids were answered so often that refusals of new ones are their own."""
        refused, answered = self._new_refused, self._new_answered
        share = refused / (refused + answered + SHARE_WEIGHT)
        return self._known_in_a_row * share >= REFUSALS_MISSED

    def refused_known(self) -> None:
        """Record the first refusal of a known id: that is a limit, or chance."""
        self._known_in_a_row = self._new_answered = self._new_refused = 0
        self.doubt = 0
        self._certain_until = self.good + GOOD_ANSWERS_WITHOUT_DOUBT

    def failed_new(self, asked: float, *, is_refusal: bool, has_known: bool) -> bool:
        """Record the first fault of a new id; return whether it is its own."""
        if asked >= self.last_good_asked:
            self.newcomers_in_a_row += 1
        if is_refusal:
            return self._refused_new(has_known=has_known)
        return self.newcomers_in_a_row < NEWCOMERS_IN_A_ROW

    def _refused_new(self, *, has_known: bool) -> bool:
        """Record the first refusal of a new id; return whether it is its own.

        1. Known ids were answered and new ones refused, often enough: it is.
        2. A known id was refused lately: it is the rate's.
        3. Known ids are pending: it is, for now. They are asked next, at the same rate, and one of
           them will be refused if it is the rate's.
        4. None is: it is, for the first few.
        """
        self._new_refused += 1
        self.forgivable = max(self.forgivable - 1, -1)
        if self.refuses_only_new:
            return True
        if self.good < self._certain_until:
            return False
        if has_known:
            self.doubt = KNOWN_ASKED_IN_DOUBT
            return True
        return self.forgivable >= 0


class Evidence:
    """What all queries of a client have shown, as far as a later fault is judged by it."""

    def __init__(self, keys: int = 1) -> None:
        self.last_good_at: float = -math.inf
        self.silent_since: float = math.inf
        """When the first fault came since the last good answer."""
        self.doubts: Series = Series()
        """Web pages and the like."""
        self.name_failures: Series = Series()
        """Look-ups of a name that does not exist."""
        self.misled_id: str | None = None
        """The id of the first query that was redirected, or the like."""
        self.is_address_checked: bool = False
        """Whether a query for another id was, too."""
        self._keys = [KeyEvidence() for _ in range(keys)]

    @property
    def has_answered(self) -> bool:
        """Whether a query was answered well."""
        return self.last_good_at > -math.inf

    @property
    def is_in_doubt(self) -> bool:
        """Whether known ids are asked on some key to learn whether they are refused, too."""
        return any(key.doubt for key in self._keys)

    def of(self, key: int) -> KeyEvidence:
        """Return what the queries with one key have shown."""
        return self._keys[key]

    def answered(self, key: int, asked: float, now: float, *, is_known: bool) -> None:
        """Record a good answer for an id, which may have been answered well before."""
        self.last_good_at = now
        self.silent_since = math.inf
        self._keys[key].answered(asked, is_known=is_known)

    def failed(self, kind: FaultKind, request_id: str, now: float) -> None:
        """Record that a query had no good answer."""
        self.silent_since = min(self.silent_since, now)
        if kind is FaultKind.DOUBTFUL_ADDRESS:
            self.doubts.add(now)
        elif kind is FaultKind.UNKNOWN_HOST:
            self.name_failures.add(now)
        elif kind is FaultKind.UNKNOWN_ID:
            self.doubts = Series()  # a gateway is there
        elif kind is FaultKind.ADDRESS:
            self.misled_id = self.misled_id or request_id
            self.is_address_checked = self.misled_id != request_id


class Series(msgspec.Struct):
    """How many events there were, and over which time."""

    count: int = 0
    first: float = math.inf
    last: float = -math.inf

    def add(self, now: float) -> None:
        """Record one."""
        self.count += 1
        self.first = min(self.first, now)
        self.last = now

    def reaches(self, count: int, seconds: float) -> bool:
        """Return whether there were so many, over such a time."""
        return self.count >= count and self.last - self.first >= seconds


def attribute(
    fault: Fault,
    history: FaultHistory,
    evidence: Evidence,
    key: int,
    asked: float,
    *,
    is_known: bool,
    is_alone: bool,
    has_known: bool,
) -> Scope:
    """Return what a fault is charged to.

    `key` is the place of the key that was used, `is_known` whether the id was ever answered well,
    `is_alone` whether no other id is pending, `has_known` whether any known one is. The cases, in
    this order:

    1. Our own error: the id fails. Exhaustion of this process: nobody's.
    2. No connection: the gateway's. A name that does not exist, where nothing was ever answered
       and it was looked up long enough: the address's.
    3. A verdict on the key: the key's, which another id will check.
    4. A verdict on the address: the address's where nothing was ever answered well, and another id
       had it, too, or a doubtful one was seen long enough; elsewhere as ambiguous as a 5xx.
    5. "Unknown" and "malformed": the id's.
    6. A timeout, while a query that was sent later was answered: the id's.
    7. Everything else is ambiguous:
       a. The id failed before with this key, and others were answered well since: the id's.
       b. It is the first fault of a new id: the id's, unless many in a row have one. For a
          refusal, see `_refused_new`.
       c. Else the rate's, if it is a refusal, or the gateway's.
    """
    kind = fault.kind
    certain = _CERTAIN.get(kind)
    if certain is not None:
        return certain
    if kind is FaultKind.UNKNOWN_HOST:
        is_wrong = evidence.name_failures.reaches(ADDRESS_TRIES, NAME_SECONDS)
        return Scope.ADDRESS if is_wrong and not evidence.has_answered else Scope.GATEWAY
    if not evidence.has_answered and _is_wrong_address(kind, evidence, is_alone=is_alone):
        return Scope.ADDRESS
    of_key = evidence.of(key)
    if kind is FaultKind.TIMEOUT and of_key.last_good_asked > asked:
        return Scope.ID
    is_refusal = kind is FaultKind.THROTTLED
    if history.faults and history.key == key:
        is_own = of_key.tells_apart(history)
    elif is_known:
        if is_refusal:
            of_key.refused_known()
        is_own = False
    else:
        is_own = of_key.failed_new(asked, is_refusal=is_refusal, has_known=has_known)
    if is_own:
        return Scope.ID
    return Scope.LIMIT if is_refusal else Scope.GATEWAY


_CERTAIN: dict[FaultKind, Scope] = {
    FaultKind.LOCAL: Scope.LOCAL,
    FaultKind.EXHAUSTED: Scope.NOBODY,
    FaultKind.CONNECTION: Scope.GATEWAY,
    FaultKind.REFUSED: Scope.KEY,
    FaultKind.UNKNOWN_ID: Scope.ID,
    FaultKind.MALFORMED: Scope.ID,
}


def _is_wrong_address(kind: FaultKind, evidence: Evidence, *, is_alone: bool) -> bool:
    if kind is FaultKind.DOUBTFUL_ADDRESS:
        return evidence.doubts.reaches(ADDRESS_TRIES, ADDRESS_SECONDS)
    return kind is FaultKind.ADDRESS and (is_alone or evidence.is_address_checked)


def is_passing(
    history: FaultHistory, evidence: Evidence, now: float, *, is_known: bool, is_alone: bool
) -> bool:
    """Return whether "unknown" or "malformed" may still pass, however often it came.

    1. The id is known: for 60 s, and then while others are pending and none is answered well.
    2. Nothing was ever answered well: for 30 s, in which all ids may be called unknown.
    3. No other id was answered well since it began: for 30 s.
    4. Others are answered well: no.
    """
    lasting = now - history.since
    is_silent = evidence.last_good_at < history.since and not is_alone
    if is_known:
        return lasting < PASSING_SECONDS or is_silent
    if not evidence.has_answered:
        return now - evidence.silent_since < ALL_UNKNOWN_SECONDS
    return is_silent and lasting < ALL_UNKNOWN_SECONDS

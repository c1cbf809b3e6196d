"""What became of the ids of one run of the fuzzer: none may be lost, and none may end twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from ideogram_async import RequestError, Run, SamplingRequest

SHOWN_OF_BAD_ID = 100


def is_bad(given: object) -> bool:
    """Return whether something that was handed in is no id."""
    return not isinstance(given, str) or not given or not given.isprintable()


def key_of(given: object) -> str:
    """Return the id under which the end of something that was handed in is told."""
    return str.__str__(given) if isinstance(given, str) else repr(given)[:SHOWN_OF_BAD_ID]


class Account:
    """The ends of a run's ids, as its caller had them.

    `given` is what was handed in: a whole list, or what an async source has yielded so far.
    """

    def __init__(self, given: Sequence[object], *, is_source: bool, is_one_shot: bool) -> None:
        self.given = given
        self.taken = 0
        """How many results the caller has had."""
        self._is_source = is_source
        self._is_one_shot = is_one_shot
        self._ended: Counter[str] = Counter()

    def take(self, result: SamplingRequest | RequestError) -> None:
        """Record a result that the run has yielded."""
        self.taken += 1
        if isinstance(result, RequestError):
            self._ended[str(result.request_id)] += 1
        elif self._is_one_shot or result.is_complete:
            self._ended[result.request_id] += 1

    def problems(self, run: Run[Any], *, early: bool) -> Iterator[str]:
        """Yield what is wrong, once the run has ended or was left.

        1. An id of a list has one end, or is pending, or is still in the list's `rest`.
        2. An id of a source ends at least once, and at most as often as it came.
        3. What is no id fails each time that it came. Where the run was left early, its error may
           not have been taken.
        """
        rest = len([*run.rest])
        given = self.given[: len(self.given) - rest]
        good = Counter(key_of(one) for one in given if not is_bad(one))
        bad = Counter(key_of(one) for one in given if is_bad(one))
        ended = self._ended + Counter(str(error.request_id) for error in run.failures)
        told = ended + Counter(run.pending)
        for one, times in good.items():
            if not told[one]:
                yield f"{one!r} is lost"
            elif told[one] > (times if self._is_source else 1):
                yield f"{one!r} has ended {ended[one]} times, is pending, and came {times} times"
        for one, times in bad.items():
            if ended[one] > times or (ended[one] < times and not early):
                yield f"what is no id, {one}, came {times} times and has failed {ended[one]} times"
        for one in told.keys() - good.keys() - bad.keys():
            yield f"{one!r} was not handed in"

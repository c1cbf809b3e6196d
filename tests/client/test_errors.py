"""The errors: their tree, what they carry, that they travel, and what they never tell."""

from __future__ import annotations

import copy
import inspect
import pickle
import re
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import ideogram_async
from ideogram_async import (
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BaseURLError,
    ClientClosed,
    DeadlineExceeded,
    IdeogramError,
    InternalServerError,
    InvalidResponseError,
    PermissionDeniedError,
    PollingFailed,
    RateLimitError,
    RequestError,
    RequestFailed,
    RequestNotFound,
    SamplingRequest,
    WaitTimeout,
    _errors,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ID = "-example_id-0000000001"
RECORD = SamplingRequest(request_id=ID, completion_percentage=42)
DETAILS: dict[str, Any] = {
    "request_id": ID,
    "request": RECORD,
    "status": 418,
    "retry_after": 7.5,
    "pending": ("a", "b"),
}


def _subclasses(of: type[IdeogramError]) -> Iterator[type[IdeogramError]]:
    """Yield the classes of the package's root: `ray` may be imported already, or not."""
    yield of
    for kind in of.__subclasses__():
        if kind.__module__ == of.__module__:
            yield from _subclasses(kind)


ALL = sorted(set(_subclasses(IdeogramError)), key=lambda kind: kind.__name__)


def make(kind: type[IdeogramError]) -> IdeogramError:
    """Make an error of a class with every detail set."""
    if issubclass(kind, PollingFailed):
        failed = [RequestFailed("no", **DETAILS), RequestNotFound("what", request_id="b")]
        return kind("2 of 9 failed", failed, **DETAILS)
    return kind("what happened", **DETAILS)


def drawn() -> dict[str, str]:
    """Read the drawing in the module's docstring: each class and the one that it hangs from."""
    parents: dict[str, str] = {}
    branch: list[tuple[int, str]] = []
    for line in inspect.getdoc(_errors).__str__().splitlines():
        found = re.match(r"^([ │├└─]*)([A-Z]\w+)(?:  |$)", line)
        if not found or (branch and "─" not in found[1]):
            continue
        depth = len(found[1])
        branch = [*(above for above in branch if above[0] < depth), (depth, found[2])]
        parents[found[2]] = branch[-2][1] if len(branch) > 1 else "Exception"
    return parents


def test_the_tree_is_as_drawn() -> None:
    """The drawing in the docstring and the classes are one and the same tree."""
    real = {kind.__name__: kind.__bases__[0].__name__ for kind in ALL}
    assert drawn() == real
    assert all(getattr(ideogram_async, name, None) is not None for name in real)


def test_bases_beyond_the_tree_are_as_drawn() -> None:
    """`(a TimeoutError)` and `(an ExceptionGroup …)` stand where they are so, and only there."""
    drawing = _errors.__doc__ or ""
    marked = set(re.findall(r"(\w+)  [^\n]*\(a TimeoutError\)", drawing))
    assert marked == {kind.__name__ for kind in ALL if issubclass(kind, TimeoutError)}
    assert marked == {"APITimeoutError", "DeadlineExceeded", "WaitTimeout"}
    groups = {kind.__name__ for kind in ALL if issubclass(kind, BaseExceptionGroup)}
    assert groups == {"PollingFailed"}


def test_the_names_of_the_field_hang_where_its_users_expect_them() -> None:
    """Whoever comes from another client catches the same things by the same names."""
    assert issubclass(APITimeoutError, APIConnectionError)
    for kind in (AuthenticationError, PermissionDeniedError, RateLimitError, InternalServerError):
        assert issubclass(kind, APIStatusError)
        assert issubclass(kind, RequestError)
    for of_more in (PollingFailed, WaitTimeout, ClientClosed, BaseURLError):
        assert not issubclass(of_more, RequestError)


RETRYABLE = {
    APIConnectionError,
    APIStatusError,
    APITimeoutError,
    DeadlineExceeded,
    InternalServerError,
    InvalidResponseError,
    PermissionDeniedError,
    RateLimitError,
    WaitTimeout,
}


@pytest.mark.parametrize("kind", ALL)
def test_only_what_may_succeed_unchanged_is_retryable(kind: type[IdeogramError]) -> None:
    """A wrong key, address or id stays wrong; a moment's fault does not."""
    assert make(kind).retryable is (kind in RETRYABLE)


@pytest.mark.parametrize("kind", ALL)
def test_every_detail_is_on_the_error(kind: type[IdeogramError]) -> None:
    """Each class carries each attribute, and None or () where it was not told."""
    error = make(kind)
    assert {name: getattr(error, name) for name in DETAILS} == DETAILS
    if issubclass(kind, PollingFailed):
        return
    bare = kind("what happened")
    assert [bare.request_id, bare.request, bare.status, bare.retry_after] == [None] * 4
    assert bare.pending == ()
    assert str(bare) == "what happened"


@pytest.mark.parametrize("kind", ALL)
def test_messages_name_the_id(kind: type[IdeogramError]) -> None:
    """Errors of one id say which, once; those of a run or client speak for themselves."""
    told = str(make(kind))
    assert told.count(repr(ID)) == (1 if issubclass(kind, RequestError) else 0)
    assert "happened" in told or "2 of 9 failed" in told


def test_an_odd_id_is_shown_escaped() -> None:
    """An id with control characters does not reach a terminal as such."""
    assert str(RequestFailed("no", request_id="\x1b[2J\u202e")).isprintable()


def _pickled(protocol: int, error: IdeogramError) -> Any:
    return pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - its own pickle


THROUGH: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    **{
        f"pickle {protocol}": partial(_pickled, protocol)
        for protocol in range(pickle.HIGHEST_PROTOCOL + 1)
    },
}


@pytest.mark.parametrize("kind", ALL)
def test_errors_travel_whole(kind: type[IdeogramError]) -> None:
    """Copied, or sent to another process, an error keeps its class, message and attributes."""
    error = make(kind)
    error.add_note("a note")
    for way, through in THROUGH.items():
        tie_breaker = through(error)
        assert type(tie_breaker) is kind, way
        assert tie_breaker is not error
        assert (str(tie_breaker), repr(tie_breaker)) == (str(error), repr(error)), way
        assert {name: getattr(tie_breaker, name) for name in DETAILS} == DETAILS, way
        assert tie_breaker.__notes__ == ["a note"], way
        if isinstance(error, PollingFailed):
            assert isinstance(tie_breaker, PollingFailed)
            assert [str(one) for one in tie_breaker.exceptions] == [
                str(one) for one in error.exceptions
            ]
            assert [one.request_id for one in tie_breaker.exceptions] == [ID, "b"]


# A run that failed


def polling_failed() -> PollingFailed:
    """Make the error of a run in which three ids failed."""
    return PollingFailed(
        "3 of 9 requests failed",
        [
            RequestFailed("no", request_id="a"),
            RequestNotFound("what", request_id="b", status=404),
            DeadlineExceeded("late", request_id="c"),
        ],
        pending=("d",),
    )


def test_splitting_keeps_the_class_and_what_it_carries() -> None:
    """`split`, `subgroup` and `derive` make a `PollingFailed` again, with its details and notes."""
    failed = polling_failed()
    failed.add_note("a note")
    found, rest = failed.split(RequestNotFound)
    late = failed.subgroup(TimeoutError)
    for part, ids in ((found, ["b"]), (rest, ["a", "c"]), (late, ["c"])):
        assert isinstance(part, PollingFailed)
        assert [error.request_id for error in part.exceptions] == ids
        assert part.pending == ("d",)
        assert part.message == failed.message
        assert part.__notes__ == ["a note"]
    derived = failed.derive(failed.exceptions[:1])
    assert type(derived) is PollingFailed
    assert derived.pending == ("d",)


def test_except_star_sorts_the_failures() -> None:
    """Each clause of `except*` gets its own failures, the rest goes on as a `PollingFailed`."""
    seen: dict[str, list[str | None]] = {}
    try:
        try:
            raise polling_failed()
        except* RequestFailed as group:
            seen["failed"] = [_only(error).request_id for error in group.exceptions]
        except* TimeoutError as group:
            seen["late"] = [_only(error).request_id for error in group.exceptions]
    except PollingFailed as rest:
        seen["rest"] = [error.request_id for error in rest.exceptions]
    assert seen == {"failed": ["a"], "late": ["c"], "rest": ["b"]}


def _only(error: object) -> RequestError:
    assert isinstance(error, RequestError)
    return error


def test_except_star_by_the_base_takes_the_run_whole() -> None:
    """A group that is an error of ours itself is caught by the base of the tree."""
    caught: list[BaseException] = []
    failed = polling_failed()
    try:
        raise failed
    except* IdeogramError as group:
        caught.append(group)
    assert caught == [failed]


def test_a_run_that_failed_is_caught_by_plain_except_too() -> None:
    """`except IdeogramError` and `except ExceptionGroup` both take it."""
    for kind in (IdeogramError, ExceptionGroup, Exception):
        with pytest.raises(kind):
            raise polling_failed()


def test_a_group_of_none_is_refused() -> None:
    """A run in which nothing failed has no such error."""
    with pytest.raises(ValueError, match="non-empty"):
        PollingFailed("0 of 9 requests failed", [])

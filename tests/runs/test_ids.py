"""Request ids as callers hand them in: opaque, but text, and never one where many are meant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._runs.ids import check_id, check_ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_is_an_id(request_id: str) -> None:
    """Nothing is made of what an id looks like."""
    assert check_id(request_id) is request_id


@pytest.mark.parametrize("request_id", [None, 5, b"id", ["id"], True])
def test_an_id_is_text(request_id: object) -> None:
    """Anything else is a TypeError that shows it, shortened."""
    with pytest.raises(TypeError, match="expected a str"):
        check_id(request_id)
    with pytest.raises(TypeError) as caught:
        check_id([request_id] * 10_000)
    assert len(str(caught.value)) < 200


def test_an_empty_id_is_refused() -> None:
    """An empty id is a line too many in a file, and would never be known."""
    with pytest.raises(ValueError, match="empty"):
        check_id("")


def test_an_id_that_no_query_can_carry_is_refused() -> None:
    """Half a surrogate cannot be encoded, so it is refused where it is handed in."""
    with pytest.raises(ValueError, match="not valid Unicode") as caught:
        check_id("a\ud800" * 100)
    assert len(str(caught.value)) < 200
    assert str(caught.value).isascii()


@pytest.mark.parametrize("ids", ["an-id", b"an-id"])
def test_one_id_is_not_taken_for_many(ids: Any) -> None:
    """A string would be asked for letter by letter."""
    with pytest.raises(TypeError, match="single"):
        check_ids(ids)


@pytest.mark.parametrize("ids", [None, 5, object()])
def test_ids_can_be_iterated(ids: object) -> None:
    """What cannot be iterated is refused at the call, not at the first result."""
    with pytest.raises(TypeError, match="expected an iterable or async iterable"):
        check_ids(ids)


def test_iterables_of_both_kinds_are_taken() -> None:
    """Lists, sets, dicts, generators and async generators are handed through as they are."""

    async def stream() -> AsyncIterator[str]:
        yield "a"

    for ids in (["a"], ("a",), {"a"}, {"a": 1}, iter("a"), stream()):
        assert check_ids(ids) is ids

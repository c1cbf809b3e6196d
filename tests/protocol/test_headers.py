"""`Retry-After`: seconds or a date, within bounds, and nothing else."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from ideogram_async._protocol.headers import (
    RETRY_AFTER_CAP,
    Allowance,
    allowance,
    has_allowance,
    retry_after,
)

NOON = "Tue, 14 Nov 2023 12:00:00 GMT"
NOON_AS_TIME = 1_699_963_200.0


def clock() -> float:
    """Stand at ten seconds past noon."""
    return NOON_AS_TIME + 10


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("0", 0.0),
        ("7", 7.0),
        (" 7 ", 7.0),
        ("007", 7.0),
        ("300", 300.0),
        ("301", 300.0),
        ("99999999", 300.0),
        ("9" * 5000, 300.0),
        ("1.5", 2.0),
        ("0.2", 1.0),
        ("300.5", 300.0),
        (".5", None),
        ("1e2", None),
        ("1e999", None),
        ("nan", None),
        ("inf", None),
        ("Infinity", None),
        ("-5", None),
        ("+5", None),
        ("1_0", None),
        ("0x10", None),
        ("7 s", None),
        ("7, 8", None),
        ("१२", None),
        ("²", None),
        ("", None),
        (" ", None),
        ("soon", None),
    ],
)
def test_seconds_are_ascii_digits_within_bounds(told: str, seconds: float | None) -> None:
    """Seconds in ASCII digits count, rounded up, up to 300; what else a float takes does not."""
    assert retry_after({"Retry-After": told}, clock) == seconds


def test_no_header_is_no_wait() -> None:
    """Most gateways send none."""
    assert retry_after({}, clock) is None


@pytest.mark.parametrize(
    ("told", "seconds"),
    [
        ("Tue, 14 Nov 2023 12:00:45 GMT", 45.0),
        ("Tuesday, 14-Nov-23 12:00:45 GMT", 45.0),
        ("Tue Nov 14 12:00:45 2023", 45.0),
        ("Tue, 14 Nov 2023 12:00:45 -0000", 45.0),
        ("Tue, 14 Nov 2023 13:00:45 +0100", 45.0),
        (NOON, 0.0),
        ("Tue, 14 Nov 2023 11:59:00 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 300.0),
        ("Tue, 14 Nov 2023 25:00:00 GMT", None),
        ("Tue, 14 Nov 2023 12:00:१२", None),
    ],
)
def test_a_date_is_measured_against_the_answers_own(told: str, seconds: float | None) -> None:
    """A date counts from the answer's `Date`, so that the two clocks need not agree."""
    headers = {"Retry-After": told, "Date": NOON}
    assert retry_after(headers, lambda: NOON_AS_TIME + 3 * 86_400) == seconds


@pytest.mark.parametrize("date", [{}, {"Date": "yesterday"}, {"Date": ""}])
def test_without_a_date_the_wall_clock_serves(date: dict[str, str]) -> None:
    """Where the answer has no `Date` that can be read, this machine's clock takes its place."""
    told = "Tue, 14 Nov 2023 12:00:45 GMT"
    assert retry_after({"Retry-After": told, **date}, clock) == 35.0
    assert retry_after({"Retry-After": NOON, **date}, clock) == 0.0


_DATE_PARTS = st.integers(-5, 10_000).map(str) | st.sampled_from(["Nov", "GMT", "+9999", "१२", ":"])
_NEAR_DATES = st.lists(_DATE_PARTS, max_size=8).map(" ".join)


@given(st.text() | _NEAR_DATES, st.none() | st.text() | _NEAR_DATES)
def test_it_is_none_or_within_bounds(told: str, date: str | None) -> None:
    """No header at all raises, or makes a wait that is negative, endless or no number."""
    headers = {"Retry-After": told, **({} if date is None else {"Date": date})}
    seconds = retry_after(headers, clock)
    assert seconds is None or 0.0 <= seconds <= RETRY_AFTER_CAP


def test_milliseconds() -> None:
    """`retry-after-ms` counts where `Retry-After` has no seconds."""
    headers = CIMultiDict({"retry-after-ms": "1500"})
    assert retry_after(headers, clock) == 1.5
    assert retry_after(CIMultiDict({"Retry-After": "9", **headers}), clock) == 9.0


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        ({"RateLimit": '"default";r=50;t=30'}, (50, 30)),
        ({"RateLimit": "limit=100, remaining=50, reset=30"}, (50, 30)),
        ({"RateLimit-Remaining": "7", "RateLimit-Reset": "3"}, (7, 3)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1.5"}, (7, 1.5)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1699963220"}, (7, 10)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1699963220500"}, (7, 10.5)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1699963200"}, (7, 0)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "6m0s"}, (7, 360)),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "1h2m3.5s"}, (7, 3723.5)),
        ({"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "20ms"}, (7, 0.02)),
        ({"RateLimit-Policy": '"default";q=100;w=60'}, (100, 60)),
        ({"RateLimit": '"default";r=50'}, None),
        ({"x-ratelimit-remaining": "7"}, None),
        ({"x-ratelimit-remaining": "7", "x-ratelimit-reset": "soon"}, None),
        ({"x-ratelimit-remaining": "-7", "x-ratelimit-reset": "3"}, None),
        ({"x-ratelimit-remaining": "nan", "x-ratelimit-reset": "3"}, None),
        ({"Date": NOON}, None),
    ],
)
def test_what_a_gateway_says_of_its_limit(
    headers: dict[str, str], told: tuple[float, float] | None
) -> None:
    """Each spelling is read; what is incomplete, or no number, says nothing."""
    read = allowance(CIMultiDict(headers), clock)
    assert read == (None if told is None else pytest.approx(Allowance(*told)))
    assert has_allowance(CIMultiDict(headers)) == (not {"Date", "RateLimit-Policy"} & set(headers))


_NAMES = ("RateLimit", "RateLimit-Policy", "X-RateLimit-Remaining", "X-RateLimit-Reset")
_HOSTILE = st.one_of(
    st.text(max_size=30),
    st.text("0123456789.,;=rtqwhms -+e", max_size=40),
    st.from_regex(r"\d+(\.\d+)?(h|m|s|ms)?", fullmatch=True),
    st.just("9" * 5000),
)


@given(st.dictionaries(st.sampled_from((*_NAMES, "Retry-After", "Retry-After-Ms")), _HOSTILE))
def test_no_header_raises(headers: dict[str, str]) -> None:
    """Whatever a gateway sends, there is a finite figure of it, or none."""
    for read in (retry_after(CIMultiDict(headers), clock), *(allowance(headers, clock) or ())):
        assert read is None or 0 <= read < math.inf

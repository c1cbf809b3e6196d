"""The common slots: each has one owner, and each member has its share of them."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate, chain, pairwise
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async._fleet.member import FleetMember
from ideogram_async._fleet.slots import Slots, SlotShare

RATE = 20.0
SERVER = 1.7e9
"""The coordinator's time at 0 of the loop's clock."""


def slot_share(share: float = 1.0, first: float = 0.0) -> SlotShare:
    """Return what is a member's of the slots, of which one was under way at 0."""
    return SlotShare(RATE, (3.25, SERVER), first, share)


def slots(share: float = 1.0, first: float = 0.0) -> Slots:
    """Return slots of which none is open at 0."""
    one = Slots(RATE)
    one.change(slot_share(share, first), -SERVER, 0.0)
    one.skip(0.0)
    return one


def used(one: Slots, seconds: float) -> list[float]:
    """Return when a member sends that always has something to send."""
    times: list[float] = []
    while (at := one.opens_at) < seconds:
        one.sent(at)
        times.append(at)
    return times


@given(weights=st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_each_slot_has_one_owner(weights: list[int]) -> None:
    """Members together keep one even pace, and each has its share of it."""
    shares = [weight / sum(weights) for weight in weights]
    fleet = [slots(*both) for both in zip(shares, accumulate([0.0, *shares]), strict=False)]
    times = [used(one, 20.0) for one in fleet]
    apart = [after - before for before, after in pairwise(sorted(chain(*times)))]
    assert apart == pytest.approx([1 / RATE] * len(apart), rel=1e-3)
    assert [len(own) for own in times] == pytest.approx([400 * one for one in shares], abs=3)


def test_a_members_slots_are_spread_evenly() -> None:
    """The times between two of them have three lengths, the longest twice the mean at most."""
    apart = Counter(round(b - a, 3) for a, b in pairwise(used(slots(0.13), 100.0)))
    assert len(apart) <= 3
    assert max(apart) < 2 / (0.13 * RATE)


def test_a_slot_may_be_used_until_the_next_one() -> None:
    """Who had nothing to send may send at once, but saves no second slot."""
    one = slots()
    one.sent(10.01)
    assert one.opens_at == pytest.approx(10.0375)  # slots begin at 0.0375 s and each 0.05 s after


def test_lateness_is_made_up_while_queries_wait() -> None:
    """Of a stall of a second, the slots of 0.05 s are left; without a wait, none."""
    for waits, opens_at in ((True, 9.9875), (False, 10.0375)):
        one = slots()
        if waits:
            one.wait()
        one.sent(10.0)
        assert one.opens_at == pytest.approx(opens_at)


def test_no_slot_is_used_twice() -> None:
    """What is known of the clocks' difference may change: the slots that were used stay so."""
    one = slots()
    one.sent(one.opens_at)
    before = one.opens_at
    one.change(slot_share(), -SERVER + 0.02, 0.04)
    assert one.opens_at == pytest.approx(before + 0.02)


def test_what_may_be_sent_stays_so_when_shares_change() -> None:
    """An open slot stays open; of those to come, others are the member's."""
    one = slots(0.5)
    at = one.opens_at
    one.change(slot_share(0.1, 0.7), -SERVER, at)
    assert one.opens_at == at
    one.sent(at)
    one.change(slot_share(0.9, 0.0), -SERVER, at + 0.01)
    assert at + 0.01 < one.opens_at <= at + 0.11


def test_a_query_without_a_slot_is_made_up_for() -> None:
    """A member that has just sent one begins later by a round of slots than one that has not."""
    begins = []
    for sends in (True, False):
        one = Slots(RATE)
        if sends:
            one.sent(0.0)
        one.change(slot_share(), -SERVER, 0.01)
        one.begin(0.01, slots=2)
        begins.append(one.opens_at)
    assert begins == pytest.approx([0.1375, 0.0375], abs=1e-5)


def test_a_share_of_nothing_is_looked_for_in_some_slots_only() -> None:
    """The next slot of a member without a share is far away, and found soon."""
    one = slots(0.0)
    assert one.opens_at == pytest.approx(2000 / RATE, rel=0.01)
    assert math.isfinite(one.rate)


@pytest.mark.anyio
async def test_members_that_never_had_a_reply_have_slots_of_their_own() -> None:
    """A member that cannot reach the coordinator takes a tenth of the circle, at a random place."""
    fleet = [FleetMember(Mock(), "nobody", 20) for _ in range(20)]
    for one in fleet:
        one._lose(OSError())
        one.sent(0.0)
    assert len({round(one.opens_at(0.0), 6) for one in fleet}) > 5

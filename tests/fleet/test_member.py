"""What one member makes of the replies it gets: decisions, without I/O."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest

from ideogram_async._fleet.fleet_rate import FleetRate
from ideogram_async._fleet.member import FleetMember
from ideogram_async._fleet.messages import Announcement, Event, Reply

SERVER = 1.7e9
"""The server's time at 0 of the loop's clock."""


def member(max_rate: float | None = None) -> FleetMember:
    """Make a member that is not started."""
    return FleetMember(Mock(), "nobody", max_rate)


def reply(now: float = 0.0, **what: Any) -> Reply:
    """Make a reply to the only member of a fleet."""
    usual = {"rate": 20.0, "source": "found", "held": 0.0, "probing": False, "share": 1.0}
    usual |= {"prospect": 1.0, "pushed": 0, "members": 1, "pending": 0.0, "now": SERVER + now}
    return Reply(**{**usual, **what})


def test_a_probe_is_one_query() -> None:
    """While all stop nobody sends; then who may probe sends one query, and no second one."""
    limiter = member()
    limiter._take(reply(held=SERVER + 5, probing=True), 0.0)
    assert limiter.held_until == 5
    assert limiter.opens_at(6.0) == math.inf
    limiter._take(reply(6, held=SERVER + 5, probing=True, probe=True), 6.0)
    assert limiter.opens_at(6.0) <= 6
    limiter.sent(6.0)
    assert limiter.opens_at(6.0) == math.inf
    limiter.accepted(6.0, 6.1)
    assert limiter._report(6.1).urgent
    limiter._take(reply(6.2), 6.2)
    assert limiter.opens_at(6.5) <= 6.5


def sent_from(limiter: FleetMember, begin: float, seconds: float) -> int:
    """Send whenever the member may; return how often that was."""
    count, now = 0, begin
    while (now := max(limiter.opens_at(now), now)) < begin + seconds:
        limiter.sent(now)
        count += 1
    return count


def test_members_begin_apart_after_a_hold() -> None:
    """Eight members that go on at the same moment use one of the common slots each."""
    fleet = [member() for _ in range(8)]
    share: dict[str, Any] = {"members": 8, "rate": 16.0, "share": 1 / 8, "prospect": 1 / 8}
    share["slot"] = 7.0, SERVER
    for place, one in enumerate(fleet):
        one._take(reply(held=SERVER + 5, probing=True, first=place / 8, **share), 0.0)
        one._take(reply(6, first=place / 8, **share), 6.0)
    begin = sorted(one.opens_at(6.0) for one in fleet)
    assert 6.0 < begin[0] < begin[-1] <= 7.0
    assert all(after - before > 0.06 for before, after in pairwise(begin))


def test_a_member_whose_work_begins_makes_up_for_its_first_query() -> None:
    """Its share comes after it: of eight that do the same, each waits for half a round of slots."""
    limiter = member()
    limiter._take(reply(share=0.002, members=8), 0.0)
    limiter.sent(1.0)
    limiter._take(reply(1.01, share=1 / 8, members=8), 1.01)
    assert limiter.opens_at(1.01) > 1.0 + 4 / 20


def test_a_hold_of_its_own_outlasts_a_reply() -> None:
    """A member that was asked to wait does so, while the others go on."""
    limiter = member()
    limiter._take(reply(), 0.0)
    limiter.hold(9.0, 1.0)
    limiter._take(reply(1), 1.0)
    assert limiter.opens_at(1.0) == 9


def test_a_rate_is_reckoned_with_what_a_member_will_have() -> None:
    """An idle member has a small share, but places its ids by the rate that it will have."""
    limiter = member(100)
    limiter._take(reply(rate=50.0, share=0.01, prospect=0.5), 0.0)
    assert limiter.rate == 25
    assert limiter.source == "told"


def test_who_leads_next_knows_what_was_known() -> None:
    """Members that have heard the same come to the same rate, and stop for the same refusal."""
    first, second = FleetRate(None), FleetRate(None)
    what: dict[str, Any] = {"pending": 40.0, "sent": 0, "accepted": 0}
    for step in range(41):
        what |= {"sent": 5 * step, "accepted": 5 * step, "newest": SERVER + step / 4}
        for one in (first, second):
            one.feed(reply(step / 4, **what), step / 4)
    assert first.decision(10.0) == second.decision(10.0)
    assert first.decision(10.0).rate > 20
    for one in (first, second):
        refusal = reply(10.1, **what, heard=1, events=[Event(SERVER + 10, "refused", "30.0")])
        one.feed(refusal, 10.1)
        assert one.decision(10.1).probing
        assert one.decision(10.1).held >= 30
        assert one.heard == 1


def test_what_is_idle_before_work_comes_is_not_measured() -> None:
    """Of a limit that is reached just after a fleet's first work, the whole rate is found."""
    one = FleetRate(None)
    one.feed(reply(rate=0.0, source="none"), 0.0)
    count = {"sent": 0, "accepted": 0}
    for step in range(21):  # 10 queries, whose first one went out at 1.5 s, and 5 in each 0.25 s
        now = 2 + step / 4
        count = {"sent": 10 + 5 * step, "accepted": 10 + 5 * step}
        one.feed(reply(now, pending=200.0, newest=SERVER + now, **count), now)
    one.feed(reply(7.1, **count, events=[Event(SERVER + 7.05, "refused", "null")]), 7.1)
    count = {name: done + 1 for name, done in count.items()}
    one.feed(reply(7.4, **count, newest=SERVER + 7.3, held=SERVER + 7.3, probing=True), 7.4)
    assert one.decision(7.4).rate == pytest.approx(0.85 * 20, rel=0.1)


def test_what_was_sent_before_a_hold_was_heard_of_is_no_probe() -> None:
    """A query that is accepted during a hold ends it for nobody; the one after it does."""
    one = FleetRate(None)
    one.feed(reply(), 0.0)
    done: dict[str, Any] = {"sent": 1, "accepted": 0, "newest": SERVER}
    one.feed(reply(10.1, **done, events=[Event(SERVER + 10, "refused", "30.0")]), 10.1)
    held: dict[str, Any] = {"held": SERVER + 40.1, "probing": True}
    one.feed(reply(10.5, sent=2, accepted=1, newest=SERVER + 10.2, **held), 10.5)
    assert one.decision(10.5).probing
    late = [Event(SERVER + 9, "refused", "null")]  # its answer took long; it holds nobody longer
    one.feed(reply(40.5, sent=3, accepted=1, newest=SERVER + 10.2, events=late, **held), 40.5)
    one.feed(reply(40.6, sent=3, accepted=2, newest=SERVER + 40.2, **held), 40.6)
    assert not one.decision(40.6).probing


def test_who_joins_late_takes_over_what_was_found() -> None:
    """Whoever leads at once goes on at the rate that Redis keeps; a told one is not raised."""
    late = FleetRate(None)
    late.feed(reply(rate=7.0), 0.0)
    assert (late.decision(0.0).rate, late.decision(0.0).source) == (7.0, "found")
    told = FleetRate(5.0)
    told.feed(reply(rate=5.0, source="none"), 0.0)
    assert (told.decision(0.0).rate, told.decision(0.0).source) == (0.98 * 5, "none")
    assert told._limiter.rate == math.inf  # nothing was found: a cut begins at what is measured


def test_a_refusal_while_redis_is_away_changes_the_pace_alone() -> None:
    """A member that is cut off sends less after each refusal, but places its ids as before."""
    limiter = member(100)
    limiter._take(reply(rate=98.0, source="none", share=0.5, prospect=0.5), 0.0)
    limiter._is_away = True
    for now in (1.0, 3.0, 5.0):
        limiter.refused(now, None, now)
    assert limiter.rate == pytest.approx(49)
    assert sent_from(limiter, 7.0, 10.0) == pytest.approx(10 * 49 * 0.7**3, rel=0.02)
    limiter._take(reply(20, rate=98.0, source="none", share=0.5, prospect=0.5), 20.0)
    assert sent_from(limiter, 20.0, 10.0) == pytest.approx(10 * 49, rel=0.02)


def test_a_later_message_outlasts_an_earlier_reply() -> None:
    """Replies and messages come by two connections: the share that was given last counts."""
    limiter = member(100)
    limiter._take(reply(rate=100.0, source="none", share=0.5, prospect=0.5), 0.0)
    limiter._hear(Announcement(shares={limiter._id: (0.25, 0.4, 0.0)}, pushed=2), 0.0)
    limiter._take(reply(rate=100.0, source="none", share=0.5, pushed=1), 0.1)
    assert limiter.rate == pytest.approx(0.4 * 98)
    limiter._take(reply(rate=100.0, source="none", prospect=0.3, pushed=2), 0.2)
    limiter._hear(Announcement(shares={limiter._id: (0.25, 0.4, 0.0)}, pushed=2), 0.3)
    assert limiter.rate == pytest.approx(0.3 * 98)
    limiter._hear(Announcement(held=SERVER + 5, probing=True, pushed=3), 0.4)
    limiter._take(reply(rate=100.0, source="none", pushed=2), 0.5)
    assert limiter.is_probing


def test_a_member_that_is_back_brings_its_rate_along() -> None:
    """What was cut while a member was cut off, and sent on, is taken back when it returns."""
    one = FleetRate(100.0)
    what: dict[str, Any] = {"rate": 98.0, "source": "none", "pending": 40.0}
    one.feed(reply(**what), 0.0)
    for step in range(1, 41):
        what |= {"sent": 18 * step, "accepted": 18 * step, "newest": SERVER + step / 4, "lost": 1}
        one.feed(reply(step / 4, **what), step / 4)
    events = [Event(SERVER + 10, "refused", "null")]
    one.feed(reply(10.1, **what, heard=1, events=events), 10.1)
    what |= {"sent": 721, "held": SERVER + 10.2, "probing": True}
    one.feed(reply(10.4, **what), 10.4)
    what |= {"accepted": 721, "newest": SERVER + 10.4}
    one.feed(reply(10.5, **what), 10.5)
    assert one.decision(10.5).rate < 75
    one.feed(reply(10.6, **what, back=1), 10.6)
    assert one.decision(10.6).rate == 98


def test_an_announced_limit_binds_all() -> None:
    """What a member has read in a header bounds the rate of all; the latest counts, for a while."""
    one = FleetRate(None)
    one.feed(reply(), 0.0)
    read = [(1, "[4.0,6.0]"), (0, "[9.0,60.0]")]
    events = [Event(SERVER + at, "announced", data) for at, data in read]
    one.feed(reply(2, heard=2, events=events), 2.0)
    assert (one.decision(6.9).rate, one.decision(6.9).source) == (4.0, "header")
    assert (one.decision(7.1).rate, one.decision(7.1).source) == (20.0, "found")


def test_a_header_that_does_not_count_its_queries_is_not_reported() -> None:
    """A relay's header, of another limit, is dropped after three queries that it did not count."""
    limiter = member()
    limiter._take(reply(), 0.0)
    reported = []
    for now in range(4):
        limiter.announced(50, 60, now)
        limiter.accepted(now, now)
        reported += [event.data for event in limiter._report(now).events]
    assert reported == ["[0.8333333333333334,60]"] * 3


def test_a_rate_without_a_limit_can_be_shared() -> None:
    """Where nothing limits the fleet, a share of it limits nothing; a refusal brings a pace."""
    limiter = member(math.inf)
    limiter._take(reply(rate=-1.0, source="none", share=0.0, prospect=0.02), 0.0)
    limiter._take(reply(1, rate=-1.0, source="none", share=0.5, prospect=0.5), 1.0)
    assert limiter.source == "none"
    for _ in range(100):
        limiter.sent(1.0)
    assert limiter.opens_at(1.0) <= 1.001
    limiter._take(reply(2, rate=20.0, share=0.5, prospect=0.5), 2.0)
    limiter.sent(2.0)
    assert limiter.opens_at(2.0) == pytest.approx(2.1)

"""What one member makes of Redis's replies: decisions, without Redis."""

from __future__ import annotations

import math
from typing import Any

import pytest

pytest.importorskip("redis", reason="the extra is not installed")

from ideogram_async.redis import RedisLimiter
from ideogram_async.redis._fleet_rate import FleetRate
from ideogram_async.redis._messages import Event, Reply

SERVER = 1.7e9
"""The server's time at 0 of the loop's clock."""


def reply(now: float = 0.0, **what: Any) -> Reply:
    """Make a reply to the only member of a fleet."""
    usual = {"rate": 20.0, "source": "found", "held": 0.0, "probing": False, "share": 1.0}
    usual |= {"prospect": 1.0, "pushed": 0, "members": 1, "probe": False, "leads": False}
    usual |= {"pending": 0.0, "sent": 0, "accepted": 0, "newest": 0.0, "heard": 0}
    usual |= {"now": SERVER + now}
    return Reply(**{**usual, **what})


def test_a_probe_is_one_query() -> None:
    """While all stop nobody sends; then who may probe sends one query, and no second one."""
    limiter = RedisLimiter("redis://127.0.0.1:1")
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


def test_a_hold_of_its_own_outlasts_a_reply() -> None:
    """A member that was asked to wait does so, while the others go on."""
    limiter = RedisLimiter("redis://127.0.0.1:1")
    limiter._take(reply(), 0.0)
    limiter.hold(9.0, 1.0)
    limiter._take(reply(1), 1.0)
    assert limiter.opens_at(1.0) == 9


def test_a_rate_is_reckoned_with_what_a_member_will_have() -> None:
    """An idle member has a small share, but places its ids by the rate that it will have."""
    limiter = RedisLimiter("redis://127.0.0.1:1", max_rate=100)
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

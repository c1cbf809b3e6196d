"""What headers say of a limit: kept while it is true, dropped where it is another's."""

from __future__ import annotations

import math

from ideogram_async._limits.announced_limit import AnnouncedLimit
from ideogram_async._limits.found_rate import FoundRate


def test_an_announcement_bounds_the_rate_until_it_ends() -> None:
    """50 queries in 10 s are 5 per second, for these 10 s; of 300 s, for 60 s."""
    limit = AnnouncedLimit()
    limit.announce(50, 10, 100.0)
    assert limit.bound(109.0) == 5.0
    assert limit.bound(110.0) == math.inf
    limit.announce(300, 300, 200.0)
    assert limit.bound(259.0) == 1.0
    assert limit.bound(260.0) == math.inf


def test_an_announcement_that_does_not_count_is_dropped() -> None:
    """Three accepted queries that it did not count: it is another limit's, from then on."""
    limit = AnnouncedLimit()
    limit.announce(60, 60, 0.0)
    for n in range(3):
        limit.accepted()
        limit.announce(60, 60, 1.0 + n)
    assert limit.bound(5.0) == math.inf
    limit.announce(10, 10, 100.0)
    assert limit.bound(101.0) == math.inf


def test_one_that_counts_is_kept_though_answers_overtake_each_other() -> None:
    """What remains falls by each query, whatever the order in which the answers arrive."""
    limit = AnnouncedLimit()
    for n, remaining in enumerate((97, 99, 98, 94, 96, 95, 91, 93, 92)):
        limit.announce(remaining, 10, 0.1 * n)
        limit.accepted()
    assert limit.bound(1.0) < 10


def test_a_limit_that_headers_show_is_never_met() -> None:
    """A window whose headers are kept refuses nothing; an empty one is waited for."""
    limiter, now = FoundRate(), 1000.0
    for sent in range(1, 251):
        limiter.wait(100)
        now = max(now, limiter.opens_at(now))
        limiter.sent(now)
        limiter.announced(300 - sent, 1060.0 - now, now)
        limiter.accepted(now, now)
    assert now >= 1045.0
    assert limiter.source == "header"
    limiter.announced(0, 7, now)
    assert limiter.opens_at(now) == now + 7

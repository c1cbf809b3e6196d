"""The seam between a session and what decides when it may send.

A limiter does no I/O and reads no clock: `now` is passed in, in seconds on the event loop's clock.
One that shares its permits with other processes is refilled by a task of its own; it answers
`opens_at` from what it has at hand, and calls back when it has more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ideogram_async._statistics import LimitSource


class Limiter(Protocol):
    """When queries may be sent, as far as a rate limits them."""

    @property
    def rate(self) -> float:
        """Queries per second that may be sent; inf where nothing limits them."""

    @property
    def source(self) -> LimitSource:
        """How the limit is known. While it is "none", immediate queries have no pace."""

    @property
    def is_certain(self) -> bool:
        """Whether the rate is more than an estimate of few queries."""

    @property
    def held_until(self) -> float:
        """Until when nothing may be sent, not even an immediate query; -inf for no hold."""

    @property
    def is_probing(self) -> bool:
        """Whether one query alone may be out, to find out if more are accepted."""

    def opens_at(self, now: float) -> float:
        """Return when the next query may be sent: at once if that is no later than `now`.

        inf where that is not known yet: then the limiter calls back.
        """

    def wait(self, pending: float) -> None:
        """Record that a due query waits for the rate, of so many pending ids."""

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Record that a query goes out. Not paced: it takes no turn of its own."""

    def accepted(self, asked: float, now: float) -> None:
        """Record that the gateway read a query, which was sent at `asked`."""

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Record a refusal that was charged to the rate; return whether it holds the session."""

    def announced(self, remaining: float, seconds: float, now: float) -> None:
        """Record that, by an answer's headers, so many more queries are allowed within a time."""

    def hold(self, until: float, now: float) -> None:
        """Send nothing until then: another user of the same limit was refused."""

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back whenever a query may be sent sooner than was said, or a hold began elsewhere.

        The callback runs in the event loop's thread.
        """

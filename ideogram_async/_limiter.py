"""The seam between a client and what decides when it may send.

A limiter decides without I/O and reads no clock: `now` is passed in, in seconds on the event loop's
clock. One whose permits come from elsewhere, a `BackgroundLimiter`, is refilled by a task of its
own; it answers `opens_at` from what it has at hand, and calls back when it has more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

LimitSource = Literal["none", "told", "found", "header"]
"""How a limit came to be known. none: no limit has shown so far."""

_METHODS = ("opens_at", "wait", "sent", "accepted", "refused", "hold", "subscribe")
_PROPERTIES = ("rate", "source", "held_until", "is_probing")


class Limiter(Protocol):
    """When queries may be sent, as far as a rate limits them.

    The client's setting `limiter` takes one. It is used for all keys of the client. All methods are
    called in the event loop's thread; times are seconds on the loop's clock. Whether a query goes
    out, and which id it is for, is decided in one step: `opens_at`, then `sent`, with nothing
    awaited between them.

    It may also have `announced(remaining, seconds, now)`: by an answer's headers, so many more
    queries are allowed within a time. And `fleet_size`, where clients in other processes share its
    budget: they divide the queries that a key may have in flight before its first good answers.
    """

    @property
    def rate(self) -> float:
        """Queries per second that may be sent; inf where nothing limits them."""
        ...

    @property
    def source(self) -> LimitSource:
        """How the limit is known. While it is "none", immediate queries have no pace."""
        ...

    @property
    def held_until(self) -> float:
        """Until when nothing may be sent, not even an immediate query; -inf for no hold."""
        ...

    @property
    def is_probing(self) -> bool:
        """Whether one query alone may be out, to find out if more are accepted."""
        ...

    def opens_at(self, now: float) -> float:
        """Return when the next query may be sent: at once if that is no later than `now`.

        inf where that is not known yet: then the limiter calls back.
        """
        ...

    def wait(self, pending: float) -> None:
        """Record that a due query waits for the rate, of so many pending ids."""

    def sent(self, now: float, *, paced: bool = True) -> None:
        """Record that a query goes out. Not paced: it takes no turn of its own."""

    def accepted(self, asked: float, now: float) -> None:
        """Record that the gateway read a query, which was sent at `asked`."""

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:
        """Record a refusal that was charged to the rate; return whether it holds the session."""
        ...

    def hold(self, until: float, now: float) -> None:
        """Send nothing until then: another user of the same limit was refused."""

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Call back whenever a query may be sent sooner than was said, or a hold began elsewhere.

        The callback runs in the event loop's thread.
        """


class BackgroundLimiter(Limiter, Protocol):
    """A limiter with a task that does its I/O: it fetches permits, say."""

    async def run(self, budget: str) -> None:
        """Work until cancelled, which the client does when it is closed.

        The client calls it in a task, after `subscribe`. If it raises or returns, that is logged,
        and it is called again after some seconds.

        Args:
            budget: A name of the client's keys, the same in each process that uses the same keys.
                It is a keyed hash: no key can be found from it.

        """


def check_limiter(limiter: Limiter | None) -> Limiter | None:
    """Check that the object has what a `Limiter` has."""
    if isinstance(limiter, type):
        raise TypeError(f"limiter is the class {limiter.__name__}: expected an instance of it")
    for name in (*_PROPERTIES, *_METHODS) if limiter is not None else ():
        if not hasattr(limiter, name) or (
            name in _METHODS and not callable(getattr(limiter, name))
        ):
            raise TypeError(
                f"limiter is a {type(limiter).__name__} without {name}: expected a Limiter"
            )
    return limiter


def check_cancelled() -> None:
    """Raise the cancellation of this task, if the code that was called has kept it to itself."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError

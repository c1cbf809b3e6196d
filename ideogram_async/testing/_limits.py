"""Rate limits of gateways: sliding windows, token buckets, leaky buckets, and chance."""

from __future__ import annotations

import math
import random
from abc import ABC, abstractmethod
from collections import defaultdict, deque
from email.utils import formatdate
from typing import Literal, Protocol, TypedDict, Unpack

import msgspec

from ._replies import Reply, html_reply, relay_error

_ROUNDING = 1e-9
"""Tokens. Without it, rounding could cost a token that was refilled in many steps."""


class Limit(Protocol):
    """Decides about each query when it arrives."""

    def admit(self, now: float, key: str | None) -> bool:
        """Return whether a query with this key is admitted at a loop time. Count it if so."""
        ...

    def refusal(self, now: float, key: str | None, server_time: float) -> Reply:
        """Return the answer to a query that was refused just now."""
        ...


class RefusalStyle(TypedDict, total=False):
    """
    How a limit counts, and its refusals.

    `retry_after` is None for no header, "seconds" for whole seconds, "date" for a date, or
    any other text, which is sent unchanged. `by` counts "all" queries together, or those of
    each "key".
    """

    status: int
    retry_after: str | None
    body: Literal["relay", "empty", "html"]
    by: Literal["all", "key"]


class _Style(msgspec.Struct, frozen=True):
    status: int = 429
    retry_after: str | None = None
    body: Literal["relay", "empty", "html"] = "empty"
    by: Literal["all", "key"] = "all"


class RateLimit(ABC):
    """A limit on queries. By default its refusals are 429 with an empty body."""

    _style = _Style()

    def __init__(self, style: RefusalStyle) -> None:
        self._style = msgspec.structs.replace(self._style, **style)

    def admit(self, now: float, key: str | None) -> bool:
        """Return whether a query with this key is admitted at a loop time. Count it if so."""
        return self._admit(now, self._counted(key))

    def wait(self, now: float, key: str | None) -> float:
        """Return the seconds until a query would be admitted."""
        return self._wait(now, self._counted(key))

    def refusal(self, now: float, key: str | None, server_time: float) -> Reply:
        """Return the answer to a query that was refused just now."""
        reply = self._reply()
        told = self._retry_after(self.wait(now, key), server_time)
        if told is None:
            return reply
        return Reply(reply.status, {**dict(reply.headers), "Retry-After": told}, reply.body)

    def _counted(self, key: str | None) -> str | None:
        return key if self._style.by == "key" else None

    def _reply(self) -> Reply:
        status, body = self._style.status, self._style.body
        if body == "html":
            return html_reply(status)
        if body == "relay":
            return relay_error(status, "too many requests", code="rate_limit_exceeded")
        return Reply(status)

    def _retry_after(self, wait: float, server_time: float) -> str | None:
        form, seconds = self._style.retry_after, math.ceil(wait)
        if form == "seconds":
            return str(seconds)
        if form == "date":
            return formatdate(math.ceil(server_time + wait), usegmt=True)
        return form

    @abstractmethod
    def _admit(self, now: float, key: str | None) -> bool: ...

    @abstractmethod
    def _wait(self, now: float, key: str | None) -> float: ...


class SlidingWindow(RateLimit):
    """At most `count` admitted queries in any `seconds`. Refused queries do not count."""

    def __init__(self, count: int, seconds: float, **style: Unpack[RefusalStyle]) -> None:
        super().__init__(style)
        self.count = count
        self.seconds = seconds
        self._ends: defaultdict[str | None, deque[float]] = defaultdict(deque)

    def _admit(self, now: float, key: str | None) -> bool:
        ends = self._ends[key]
        while ends and ends[0] <= now:
            ends.popleft()
        if len(ends) >= self.count:
            return False
        ends.append(now + self.seconds)
        return True

    def _wait(self, now: float, key: str | None) -> float:
        ends = self._ends[key]
        return max(0.0, ends[-self.count] - now) if 0 < self.count <= len(ends) else 0.0


class TokenBucket(RateLimit):
    """`rate` tokens per second, at most `burst` of them. A query takes one."""

    _beyond_burst = 0

    def __init__(self, rate: float, burst: float, **style: Unpack[RefusalStyle]) -> None:
        super().__init__(style)
        self.rate = rate
        self.burst = burst
        self._tokens: dict[str | None, tuple[float, float]] = {}

    def _admit(self, now: float, key: str | None) -> bool:
        tokens = self._left(now, key)
        admitted = tokens >= 1 - _ROUNDING
        self._tokens[key] = (tokens - admitted, now)
        return admitted

    def _left(self, now: float, key: str | None) -> float:
        most = self.burst + self._beyond_burst
        tokens, then = self._tokens.get(key, (most, now))
        return min(most, tokens + (now - then) * self.rate)

    def _wait(self, now: float, key: str | None) -> float:
        return max(0.0, 1 - self._left(now, key)) / self.rate


class LeakyBucket(TokenBucket):
    """
    Like nginx's `limit_req` with `burst` and `nodelay`: 503 as HTML, without Retry-After.

    The first query and `burst` more pass at once. The bucket leaks `rate` queries per second. So it
    admits what a `TokenBucket` with one token more does.
    """

    _style = _Style(status=503, body="html")
    _beyond_burst = 1


class AtRandom(RateLimit):
    """Refuses a random share of the queries at any rate, like an upstream without free capacity."""

    _style = _Style(body="relay")

    def __init__(self, share: float, seed: int = 0, **style: Unpack[RefusalStyle]) -> None:
        super().__init__(style)
        self.share = share
        self._random = random.Random(seed)  # noqa: S311

    def _admit(self, now: float, key: str | None) -> bool:  # noqa: ARG002
        return self._random.random() >= self.share

    def _wait(self, now: float, key: str | None) -> float:  # noqa: ARG002
        return 0.0

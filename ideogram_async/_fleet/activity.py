"""What a member did since its last report."""

from __future__ import annotations

import math
from collections import deque

import msgspec

from ideogram_async._fleet.messages import Event, Report
from ideogram_async._limits.announced_limit import AnnouncedLimit
from ideogram_async._schedules.learned import CompletionSample

_encode = msgspec.json.Encoder().encode

SAMPLES = 16
"""Completions that a report holds: what more of them would teach is little."""


class Activity:
    """Counts queries, and keeps what others should know. Times are on the loop's clock."""

    def __init__(self) -> None:
        self.sent: int = 0
        self.accepted: int = 0
        self._newest = -math.inf
        self._refusals: list[Event] = []
        self._samples: deque[str] = deque(maxlen=SAMPLES)
        self._header = AnnouncedLimit()
        self._read_at = math.inf  # when the last header was read, until it is reported

    def add_sent(self) -> None:
        """Record that a query went out."""
        self.sent += 1

    def add_accepted(self, asked: float) -> None:
        """Record that the gateway read a query, which was sent at `asked`."""
        self.accepted += 1
        self._header.accepted()
        self._newest = max(self._newest, asked)

    def add_refusal(self, asked: float, retry_after: float | None) -> None:
        """Record a refusal."""
        self._refusals.append(Event(asked, "refused", _encode(retry_after).decode()))

    def add_header(self, remaining: float, seconds: float, now: float) -> None:
        """Record that, by an answer's headers, so many more queries are allowed within a time."""
        self._header.announce(remaining, seconds, now)
        self._read_at = now

    def add_sample(self, sample: CompletionSample) -> None:
        """Record what a completion teaches."""
        self._samples.append(_encode(sample).decode())

    def newest_age(self, now: float) -> float:
        """Return the seconds since the youngest accepted query was sent; 0 for none."""
        return max(now - self._newest, 0.0) if self.accepted else 0.0

    def restore(self, report: Report, at: float) -> None:
        """Count again what a report said at `at` that did not arrive.

        Without that the limit would be taken for lower than it is. Its events are lost: where a
        limit is reached, more is refused soon.
        """
        self.sent += report.sent
        self.accepted += report.accepted
        if report.accepted:
            self._newest = max(self._newest, at - report.newest)

    def take_samples(self) -> list[str]:
        """Return what completions have taught since the last report."""
        samples = [*self._samples]
        self._samples.clear()
        return samples

    def take_events(self, now: float) -> list[Event]:
        """Return what others should know, with its age in place of its time; begin to count anew.

        A header counts if it counted its queries: a relay's may be another limit's.
        """
        events, self._refusals = self._refusals, []
        if self._read_at <= now < self._header.until:
            bound = self._header.rate, self._header.until - self._read_at
            events.append(Event(self._read_at, "announced", _encode(bound).decode()))
            self._read_at = math.inf
        self.sent = self.accepted = 0
        return [Event(now - one.at, one.what, one.data) for one in events]

"""How many requests are running, and how many are queued: a hook that looks at each answer."""

from __future__ import annotations

from ideogram_async import Event, QueryAnswered, RequestEnded


class RequestStates:
    """Counts by the last record of each request."""

    def __init__(self) -> None:
        self._running: set[str] = set()

    def __call__(self, event: Event) -> None:
        """Look at an answer, or at the end of a request."""
        if isinstance(event, QueryAnswered):
            if event.record is not None and event.record.has_started:
                self._running.add(event.request_id)
        elif isinstance(event, RequestEnded):
            self._running.discard(event.request_id)

    def describe(self, pending: int) -> str:
        """Return the numbers in words, of so many requests that have not ended."""
        running = min(len(self._running), pending)
        return f"{running:,} running, {pending - running:,} queued"

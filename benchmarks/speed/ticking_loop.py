"""An event loop whose clock goes on by the same time at each look.

What a client does depends on the time. Under Valgrind it runs fifty times slower, and on a busy
machine differently each time; by this clock its instructions can be repeated.
"""

from __future__ import annotations

from ideogram_async.testing import VirtualTimeLoop

TICK_SECONDS = 20e-6
"""A query looks twice: this is about the real time of one."""


class TickingLoop(VirtualTimeLoop):
    """A loop in virtual time, which goes on even where the loop never waits."""

    def time(self) -> float:
        """Return the time, which is later at each look."""
        self._now += TICK_SECONDS
        return self._now


new_event_loop = TickingLoop

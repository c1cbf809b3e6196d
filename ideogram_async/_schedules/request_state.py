"""What the adaptive schedule keeps of each request, and how it is packed."""

from __future__ import annotations

import struct

import msgspec

from ideogram_async._schedules.progress_line import ProgressLine

UNSEEN, RESUMED, FRESH = range(3)
"""What is known of a request's beginning: nothing yet; its age by the server; its moment."""

NOTHING, DURATION, PROGRESS, CROOKED, LINE = range(5)
"""What its last delay was made from: nothing yet, how long requests take, its last percentage, the
same where that names no end, the line through its percentages."""


class JobState(msgspec.Struct, gc=False):
    """One request's `RequestState`, packed: some 130 bytes in place of some 600."""

    packed: bytes


class RequestState(msgspec.Struct, gc=False):
    """One request's state. Times are on the event loop's clock, in seconds."""

    t0: float
    """When it began, or was last seen not to have started."""
    p: float
    """The last percentage told."""
    p_anchor: float
    """Where progress is measured from …"""
    t_anchor: float
    """… and when it was there."""
    last: float
    """When it was last asked."""
    since: float
    """When the last percentage was told."""
    x: float = 0.0
    """The log of the naive estimate of what remained then."""
    sample_at: float = 0.0
    """When the one estimate was made that is kept, to be compared with the real end …"""
    sample_x: float = 0.0
    """… and its log."""
    mu: float = 0.0
    """The last decision: the log of the median end, in seconds since `counted_from` …"""
    sg: float = 1.0
    """… its deviation …"""
    delay: float = 0.0
    """… and the seconds from the answer to the next query."""
    k: int = 0
    """The band of `p`, 0 where it tells nothing."""
    sample_k: int = 0
    estimates: int = 0
    """How many estimates the sample was drawn from."""
    origin: int = UNSEEN
    basis: int = NOTHING
    line: ProgressLine | None = None
    """Made at the first percentage of at least 1."""

    @property
    def counted_from(self) -> float:
        """When the time began whose law is (mu, sg)."""
        return self.since if self.basis in {PROGRESS, CROOKED} else self.t0


_LAYOUT = struct.Struct("d11f5B")
_LINE = struct.Struct("5fB")
_AFTER = _LAYOUT.size
BASIS = _AFTER - 1
ORIGIN = _AFTER - 2
"""Where the basis, and the origin, stand in the packed state."""


def pack(job: RequestState) -> bytes:
    """Return a state as bytes: times but t0 are since t0, in single precision."""
    t0, line = job.t0, job.line
    packed = _LAYOUT.pack(
        t0,
        job.p,
        job.p_anchor,
        job.t_anchor - t0,
        job.last - t0,
        job.since - t0,
        job.x,
        job.sample_at - t0,
        job.sample_x,
        job.mu,
        job.sg,
        job.delay,
        job.k,
        job.sample_k,
        job.estimates,
        job.origin,
        job.basis,
    )
    if line is None:
        return packed
    return packed + _LINE.pack(
        line.begun, line.pace, line.var_begun, line.covariance, line.var_pace, line.points
    )


def unpack(state: JobState) -> RequestState:
    """Return the state that was packed."""
    packed = state.packed
    job = RequestState(*_LAYOUT.unpack_from(packed))
    t0 = job.t0
    job.last += t0
    job.since += t0
    job.t_anchor += t0
    job.sample_at += t0
    if len(packed) > _AFTER:
        job.line = ProgressLine(*_LINE.unpack_from(packed, _AFTER))
    return job

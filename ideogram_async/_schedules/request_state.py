"""What the adaptive schedule keeps of each request, and how it is packed."""

from __future__ import annotations

import struct

import msgspec
from msgspec.structs import astuple

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
    """One request's state. Times are in seconds since it began, except `began`."""

    began: float
    """When it began, or was last seen not to have started, on the event loop's clock."""
    last_asked: float = 0.0
    """When it was last asked."""
    told_at: float = 0.0
    """When the last percentage was told."""
    percentage: float = 0.0
    """The last percentage told."""
    log_median: float = 0.0
    """The last decision: the log of the median end, in seconds since `counted_from` …"""
    deviation: float = 1.0
    """… its deviation …"""
    delay: float = 0.0
    """… and the seconds from the answer to the next query."""
    band: int = 0
    """The band of `percentage`, 0 where it tells nothing."""
    estimates: int = 0
    """How many estimates the sample was drawn from."""
    origin: int = UNSEEN
    basis: int = NOTHING
    anchor_percentage: float = 0.0
    """Where progress is measured from …"""
    anchored_at: float = 0.0
    """… and when it was there."""
    log_left: float = 0.0
    """The log of the naive estimate of what remained when the last percentage was told."""
    sample_at: float = 0.0
    """When the one estimate was made that is kept, to be compared with the real end …"""
    sample_log_left: float = 0.0
    """… its log …"""
    sample_band: int = 0
    """… and its band."""
    line: ProgressLine | None = None
    """Made at the first percentage of at least 1: without it, all from `log_left` on is 0."""

    @property
    def counted_from(self) -> float:
        """When the time began whose law is (log_median, deviation)."""
        return self.told_at if self.basis in {PROGRESS, CROOKED} else 0.0


PLAIN = struct.Struct("d6f4B2f")
"""A state without a line: all up to `anchored_at`. In single precision, but for `began`."""
_WITH_LINE = struct.Struct(PLAIN.format + "8f2B")
_PLAIN_FIELDS, _FIELDS_BEFORE_LINE = 13, 16
"""How many fields stand in a state without a line, and before the line in one that has it."""
BASIS = 35
ORIGIN = 34
"""Where the basis, and the origin, stand in the packed state."""


def pack(job: RequestState) -> bytes:
    """Return a state as bytes."""
    fields = astuple(job)
    if job.line is None:
        return PLAIN.pack(*fields[:_PLAIN_FIELDS])
    return _WITH_LINE.pack(*fields[:_FIELDS_BEFORE_LINE], *astuple(job.line), job.sample_band)


def unpack(state: JobState) -> RequestState:
    """Return the state that was packed."""
    packed = state.packed
    if len(packed) == PLAIN.size:
        return RequestState(*PLAIN.unpack(packed))
    fields = _WITH_LINE.unpack(packed)
    job = RequestState(*fields[:_FIELDS_BEFORE_LINE])
    job.line, job.sample_band = ProgressLine(*fields[_FIELDS_BEFORE_LINE:-1]), fields[-1]
    return job

"""What a query came to: a good answer, or a fault and whom it concerns."""

from __future__ import annotations

import enum
from typing import Literal

import msgspec

from ideogram_async._errors import IdeogramError
from ideogram_async._models import SamplingRequest

_KEPT_RAW = 16_384
"""Bytes of an answer up to which it is kept as it came, to be read once more."""
_encode = msgspec.json.Encoder().encode


Party = Literal["gateway", "proxy", "process", "id"]
"""Which party caused a fault: `process` is this one or its machine, `id` an id that cannot be sent.
"""


class FaultKind(enum.Enum):
    """Whom a faulty answer concerns."""

    TRANSIENT = "the moment: ask this id again"
    THROTTLED = "the session: too many queries"
    REFUSED = "the key"
    ADDRESS = "the client: nothing here takes queries"
    UNKNOWN_ID = "this id: the gateway does not know it"
    MALFORMED = "this answer: it is none"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A good answer: the record of the id that was asked."""

    record: SamplingRequest
    server_time: float | None
    status: int = 200
    body: bytes = b""

    def kept(self) -> bytes:
        """Give what `record_of` reads again: for many ids far cheaper to hold, and to let go of."""
        return self.body if 0 < len(self.body) <= _KEPT_RAW else _encode(Envelope([self.record]))


class Fault(msgspec.Struct, frozen=True):
    """Any other answer: whom it concerns, and the error that says so."""

    kind: FaultKind
    error: IdeogramError
    html: bool = False
    """A web page where JSON was expected: the address may be wrong."""
    foreign: bool = False
    """It speaks of other ids: the connection is out of step and must be closed."""
    party: Party = "gateway"
    """Which party caused it."""


class Envelope(msgspec.Struct, gc=False):
    """The document of a good answer (documented)."""

    sampling_requests: list[SamplingRequest]

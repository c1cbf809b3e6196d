"""The outcome of a query: a good answer, or a fault as it reads by itself.

A fault's kind says what came back, not whose fault it is: `_polling.attribution` decides that from
what other queries have shown.
"""

from __future__ import annotations

import enum

import msgspec

from ideogram_async._errors import RequestError
from ideogram_async._models import SamplingRequest
from ideogram_async._protocol.headers import Allowance

KEPT_RAW_BYTES = 16_384
"""A body up to this size is kept as it came, to be decoded once more when somebody asks for it."""
DIGEST_MASK = (1 << 30) - 1
"""The bits of a digest: an int of so many takes the least memory."""
_encode = msgspec.json.Encoder(order="deterministic").encode


class FaultKind(enum.Enum):
    """What came back in place of a good answer."""

    LOCAL = "the query could not be made: our own error"
    EXHAUSTED = "this process has run out of descriptors, ports or memory"
    CONNECTION = "no connection: name, refusal, connect timeout, proxy"
    UNKNOWN_HOST = "no connection: there is no such name"
    TIMEOUT = "no whole answer in time"
    TRANSIENT = "a broken exchange, or a status that says nothing of whose fault it is"
    THROTTLED = "too many queries: 429, 503"
    REFUSED = "the key is refused, or its quota is used up"
    ADDRESS = "nothing at this address takes queries: a redirect, an unknown path, a certificate"
    DOUBTFUL_ADDRESS = "it looks as if nothing at this address takes queries: a web page, 405, …"
    UNKNOWN_ID = "the gateway does not know the id"
    MALFORMED = "no answer: no JSON, no list of records, or no record of this id"


class Answer(msgspec.Struct, frozen=True, gc=False):
    """A good answer: the record of the id that was asked."""

    record: SamplingRequest
    server_time: float | None
    """Its `Date`, seconds of Unix time."""
    status: int = 200
    body: bytes = b""
    retry_after: float | None = None
    """Seconds that the gateway asks to wait before this id is asked again."""
    allowance: Allowance | None = None
    """What the gateway says of its limit."""

    def kept(self) -> bytes:
        """Return the bytes that `record_of` decodes again: cheaper to hold than the record."""
        if 0 < len(self.body) <= KEPT_RAW_BYTES:
            return self.body
        return _encode(Envelope([self.record]))

    def digest(self) -> int:
        """Return a hash of the record: where memory is short, a change is told by it."""
        return hash(_encode(self.record)) & DIGEST_MASK


class Fault(msgspec.Struct, frozen=True):
    """Any other outcome: its kind, and the error that says what came back."""

    kind: FaultKind
    error: RequestError
    is_misplaced: bool = False
    """It speaks of other ids, or is the proxy's own: the connection must be closed."""
    allowance: Allowance | None = None
    """What the gateway says of its limit."""


class Envelope(msgspec.Struct, gc=False):
    """The document of a good answer (documented)."""

    sampling_requests: list[SamplingRequest] | None

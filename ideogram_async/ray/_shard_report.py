"""What a shard reports: results, and what the other shards should know."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from ideogram_async import (
    CompletionSample,
    IdeogramError,
    RequestError,
    SamplingRequest,
    Statistics,
)
from ideogram_async._fleet.messages import Report

Result: TypeAlias = SamplingRequest | RequestError

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[SamplingRequest]).decode


class ShardReport(NamedTuple):
    """One item of a shard's stream."""

    records: bytes | list[SamplingRequest]
    """The requests that have completed; as bytes they cost a tenth of what pickling costs."""
    errors: list[tuple[RequestError, IdeogramError | None]]
    """The errors of ids that have failed, each with its cause, which pickling alone would lose."""
    statistics: Statistics
    activity: Report | None
    """What its limiter reports, where other shards use its key."""
    samples: list[CompletionSample]
    ended: IdeogramError | None
    """What ended the run of the shard's client; then this is the last report."""

    def results(self) -> list[Result]:
        """Return the records and errors, as the shard's client yielded them."""
        for error, cause in self.errors:
            error.__cause__ = cause
        records = _decode(self.records) if isinstance(self.records, bytes) else self.records
        return [*records, *(error for error, _ in self.errors)]


def packed_records(results: list[Result]) -> bytes | list[SamplingRequest]:
    """Return the records among some results, for a report."""
    records = [result for result in results if isinstance(result, SamplingRequest)]
    try:
        return _encode(records)
    except (OverflowError, ValueError):  # a number or text that only Python knows
        return records


def packed_errors(results: list[Result]) -> list[tuple[RequestError, IdeogramError | None]]:
    """Return the errors among some results, for a report."""
    return [
        (result, result.__cause__ if isinstance(result.__cause__, IdeogramError) else None)
        for result in results
        if isinstance(result, RequestError)
    ]

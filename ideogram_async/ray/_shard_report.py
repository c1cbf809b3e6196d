"""What a shard tells: results, and whatever the rest of the cluster should know."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import msgspec

from ideogram_async import IdeogramError, RequestError, SamplingRequest, Statistics
from ideogram_async.ray._completion_samples import CompletionSample

Result: TypeAlias = SamplingRequest | RequestError

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[SamplingRequest]).decode


class ShardReport(NamedTuple):
    """One item of a shard's stream."""

    records: bytes | list[SamplingRequest]
    """Of the requests that are complete; as bytes they cost a tenth of what pickling does."""
    errors: list[tuple[RequestError, IdeogramError | None]]
    """Of the ids that failed, each with its cause: pickling alone would lose that."""
    statistics: Statistics
    holds: dict[int, float]
    """Seconds for which its sessions hold for a new refusal, by their places."""
    lessons: list[CompletionSample]
    ended: IdeogramError | None
    """What ended the shard's run, if anything did."""

    def results(self) -> list[Result]:
        """Give what ended, as it was."""
        for error, cause in self.errors:
            error.__cause__ = cause
        records = _decode(self.records) if isinstance(self.records, bytes) else self.records
        return [*records, *(error for error, _ in self.errors)]


def packed_records(results: list[Result]) -> bytes | list[SamplingRequest]:
    """Make the records among some results ready to travel."""
    records = [result for result in results if isinstance(result, SamplingRequest)]
    try:
        return _encode(records)
    except (OverflowError, ValueError):  # a number or text that only Python knows
        return records


def packed_errors(results: list[Result]) -> list[tuple[RequestError, IdeogramError | None]]:
    """Make the errors among some results ready to travel."""
    return [
        (result, result.__cause__ if isinstance(result.__cause__, IdeogramError) else None)
        for result in results
        if isinstance(result, RequestError)
    ]

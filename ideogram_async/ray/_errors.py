"""What a run on Ray raises beyond what any run raises."""

from __future__ import annotations

from ideogram_async import IdeogramError


class ShardLost(IdeogramError):  # noqa: N818 - named as the others are
    """A shard could not be started, or brought back; `pending` lists what was open."""

    retryable = True

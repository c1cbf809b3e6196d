"""Polling by shards on Ray, in place of the command's own client: `--ray`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ideogram_async import RequestError, SamplingRequest
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._ids import IdStream

if TYPE_CHECKING:
    from ideogram_async.ray import RayRun


class Shards(NamedTuple):
    """How many, on which cluster, and the settings of their clients."""

    address: str
    number: int
    settings: dict[str, Any]

    def as_completed(
        self, ids: list[str] | IdStream, timeout: float | None
    ) -> RayRun[SamplingRequest | RequestError]:
        """Poll as a client would."""
        try:
            from ideogram_async.ray import ray_as_completed  # noqa: PLC0415 - an extra's
        except ImportError as error:
            raise CommandError(f"--ray {error}", Code.USAGE) from None
        return ray_as_completed(
            ids,
            shards=self.number,
            address=self.address,
            timeout=timeout,
            return_exceptions=True,
            **self.settings,
        )

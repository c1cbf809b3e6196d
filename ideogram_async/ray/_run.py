"""The call: `as_completed` on a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

from ideogram_async import (
    AdaptiveSchedule,
    RequestError,
    Run,
    SamplingRequest,
    Statistics,
)
from ideogram_async.ray import _source
from ideogram_async.ray._cluster_run import ClusterRun
from ideogram_async.ray._run_options import RunOptions
from ideogram_async.ray._shard_config import ClientOptions, ClusterConfig
from ideogram_async.ray._source import Ids

T = TypeVar("T")


class RayRun(Run[T]):
    """A `Run` whose polling is done by shards; it is used, left and dropped as any other."""

    def __init__(self, deal: ClusterRun[T]) -> None:
        super().__init__(deal, None)
        self._deal = deal

    def client_statistics(self) -> Statistics:
        """Add up the figures of all shards, as they were told last: at most a second ago.

        `sessions` has those of each shard in turn.
        """
        return self._deal.client_statistics()


@overload
def ray_as_completed(
    ids: Ids,
    base_url: str | None = None,
    *,
    shards: int = 2,
    address: str | None = None,
    actor_options: Mapping[str, Any] | None = None,
    restarts: int = 5,
    timeout: float | None = None,
    max_pending: int = 10_000,
    return_exceptions: Literal[False] = False,
    just_submitted: bool = False,
    **options: Unpack[ClientOptions],
) -> RayRun[SamplingRequest]: ...
@overload
def ray_as_completed(
    ids: Ids,
    base_url: str | None = None,
    *,
    shards: int = 2,
    address: str | None = None,
    actor_options: Mapping[str, Any] | None = None,
    restarts: int = 5,
    timeout: float | None = None,
    max_pending: int = 10_000,
    return_exceptions: Literal[True],
    just_submitted: bool = False,
    **options: Unpack[ClientOptions],
) -> RayRun[SamplingRequest | RequestError]: ...
def ray_as_completed(
    ids: Ids,
    base_url: str | None = None,
    *,
    shards: int = 2,
    address: str | None = None,
    actor_options: Mapping[str, Any] | None = None,
    restarts: int = 5,
    timeout: float | None = None,
    max_pending: int = 10_000,
    return_exceptions: bool = False,
    just_submitted: bool = False,
    **options: Unpack[ClientOptions],
) -> RayRun[Any]:
    """Poll all ids on a Ray cluster, and yield each request as it completes.

    It means what `IdeogramClient.as_completed` means. Each shard is an actor with a client of its
    own; the limits are the whole cluster's, and a refusal that one has had holds all that use its
    key. An actor that is lost is replaced, and only what it has not delivered is handed out anew:
    each id's end comes once. Its `deadline` then counts anew.

    The keys go from this process to the actors', as arguments of a call, and nowhere else.

    Args:
        ids: Request ids, an iterable or an async one.
        base_url: The gateway's address; default: the variable `IDEOGRAM_BASE_URL`.
        shards: How many actors; each uses a core, at most.
        address: A cluster's address ("auto" for the one of this machine); default: `RAY_ADDRESS`,
            or else a cluster of this process alone. Where Ray is connected already, that is used.
        actor_options: Ray's own options for the actors, as `num_cpus` or `resources`.
        restarts: How often in a row an actor is replaced that has delivered nothing.
        timeout: Seconds that the whole call may take.
        max_pending: Ids taken from an async iterable and not yet yielded, at most.
        return_exceptions: Yield each `RequestError` in the stream.
        just_submitted: Whether the ids were submitted just now.
        options: The settings of `IdeogramClient`. What shards learn is learned by the `schedule`
            that is given, if it is an `AdaptiveSchedule`; another kind must be picklable, and each
            shard has a copy of it.

    Raises:
        ValueError: A setting is out of its range.
        TypeError: A setting is of another type.
        ShardLost: There is no cluster, or a shard could not be brought back; `pending` lists what
            was open.
        PollingFailed, AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: As in
            `as_completed`.

    """
    try:
        _source.check(ids)
        schedule = options.get("schedule") or AdaptiveSchedule()
        orders = ClusterConfig(base_url, options)
    finally:  # reports of errors may show a frame's locals
        del options
    plan = RunOptions(
        orders,
        schedule,
        _count("shards", shards),
        address,
        actor_options or {},
        _count("restarts", restarts, least=0),
        _seconds("timeout", timeout),
        _count("max_pending", max_pending),
        return_exceptions,
        just_submitted,
    )
    return RayRun(ClusterRun(ids, plan))


def _count(name: str, value: int, least: int = 1) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} is a {type(value).__name__}: expected an int")
    if value < least:
        raise ValueError(f"{name} is {value}: expected at least {least}")
    return value


def _seconds(name: str, value: float | None) -> float | None:
    if value is not None and not 0 < value < math.inf:
        raise ValueError(f"{name} is {value!r}: expected seconds > 0 and finite, or None")
    return value

"""The call: `as_completed` on a Ray cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Unpack, overload

from ideogram_async import (
    AdaptiveSchedule,
    RequestError,
    Run,
    SamplingRequest,
    Statistics,
)
from ideogram_async._runs.ids import Ids, check_ids
from ideogram_async._runs.run_state import RunState
from ideogram_async._validation import check_count, check_seconds
from ideogram_async.ray._cluster_run import ClusterRun
from ideogram_async.ray._shard_config import ClientOptions, ClusterConfig, RunOptions

T = TypeVar("T")


class RayRun(Run[T]):
    """A `Run` whose ids are polled by shards; it is used, left and dropped as any other."""

    def __init__(self, state: RunState[T], cluster: ClusterRun) -> None:
        super().__init__(state, None)
        self._cluster = cluster

    def client_statistics(self) -> Statistics:
        """Return the sums over all shards, as they were reported last: at most a second ago.

        `sessions` has those of each shard in turn.
        """
        return self._cluster.client_statistics()


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
    own. The limits are the whole cluster's, and a refusal of one shard holds all that use its key.
    A lost actor is replaced, and the new one gets the ids that it had not delivered: each id's end
    comes once. Its `deadline` then counts anew.

    The keys go from this process to the actors' processes, as arguments of a call, and nowhere
    else.

    Args:
        ids: Request ids, an iterable or an async one.
        base_url: The gateway's address; default: the variable `IDEOGRAM_BASE_URL`.
        shards: How many actors; each uses a core, at most.
        address: A cluster's address ("auto" for the one of this machine); default: `RAY_ADDRESS`,
            or else a cluster of this process alone. Where Ray is connected already, that is used.
        actor_options: Ray's own options for the actors, as `num_cpus` or `resources`.
        restarts: How many actors in a row are replaced that have delivered nothing.
        timeout: Seconds that the whole call may take.
        max_pending: Ids taken from an async iterable and not yet yielded, at most.
        return_exceptions: Yield each `RequestError` in the stream.
        just_submitted: Whether the ids were submitted just now.
        options: The settings of `IdeogramClient`. A `schedule` of the kind `AdaptiveSchedule`
            learns what all shards learn; another kind must be picklable, and each shard has a copy.

    Raises:
        ValueError: A setting is out of its range, or one of the first ids is no text.
        TypeError: A setting is of another type, or one of the first ids is no `str`.
        ShardLost: There is no cluster, or a shard could not be brought back; `pending` lists what
            was open.
        PollingFailed, AuthenticationError, BaseURLError, WaitTimeout, ClientClosed: As in
            `as_completed`.

    """
    try:
        check_ids(ids)
        schedule = options.get("schedule") or AdaptiveSchedule()
        config = ClusterConfig(base_url, options)
    finally:  # reports of errors may show a frame's locals
        del options
    cluster = ClusterRun(
        RunOptions(
            config,
            schedule,
            check_count("shards", shards),
            address,
            actor_options or {},
            check_count("restarts", restarts, least=0),
            just_submitted,
        )
    )
    state: RunState[Any] = RunState(
        ids,
        cluster,
        timeout=check_seconds("timeout", timeout),
        return_exceptions=return_exceptions,
        max_pending=check_count("max_pending", max_pending),
    )
    return RayRun(state, cluster)

"""The options of a run, and the settings and keys from which a shard makes its client.

No `repr` shows keys.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Mapping
from ssl import SSLContext
from typing import Any, NamedTuple

from ideogram_async import Credential, IdeogramClient, Schedule
from ideogram_async._config import SharedOptions
from ideogram_async._fleet.link import Link
from ideogram_async._fleet.member import FleetMember
from ideogram_async._protocol.credentials import STYLES, take_credentials
from ideogram_async._validation import BASE_URL_VARIABLE
from ideogram_async.ray._budget import Share

Key = tuple[str | None, ...]
"""The keys of one session, in the order of `STYLES`."""

MAX_IN_FLIGHT: int = inspect.signature(IdeogramClient).parameters["max_in_flight"].default


class ClientOptions(SharedOptions, total=False):
    """The settings of the shards' clients; the limits are the whole cluster's."""

    ssl: bool


class ShardConfig:
    """What one shard is told. It travels as an argument of a call, from process to process."""

    __slots__ = ("_is_shared", "_keys", "_settings")

    def __init__(self, settings: dict[str, Any], keys: list[Key], *, is_shared: bool) -> None:
        self._settings = settings
        self._keys = keys
        self._is_shared = is_shared

    def __repr__(self) -> str:
        return f"<ShardConfig: {len(self._keys)} keys>"

    def client(self, schedule: Schedule[Any], link: Link) -> IdeogramClient:
        """Return a client with these keys alone, whatever the environment of the worker holds."""
        credentials = [Credential(**dict(zip(STYLES, key, strict=True))) for key in self._keys]
        limiter = None
        if self._is_shared:
            limiter = FleetMember(lambda _: link, "the run", self._settings["max_rate"])
        return IdeogramClient(
            **self._settings, credentials=credentials, schedule=schedule, limiter=limiter
        )


class ClusterConfig:
    """What all shards are told, checked once before any of them starts."""

    def __init__(self, base_url: str | None, options: Mapping[str, Any]) -> None:
        self._keys: list[Key] = []
        settings = {"base_url": base_url, "credentials": (), **options}
        try:
            if isinstance(settings.get("ssl"), SSLContext):
                raise TypeError("ssl is an SSLContext, which cannot travel: expected a bool")
            settings["credentials"] = tuple(settings["credentials"])
            IdeogramClient(**settings)  # its checks: what follows cannot fail and show a key
            self._keys = [one.secrets() for one in take_credentials(settings, os.environ)]
            settings["base_url"] = settings["base_url"] or os.environ.get(BASE_URL_VARIABLE)
            self.max_in_flight: int = settings.pop("max_in_flight", MAX_IN_FLIGHT)
            self.max_rate: float | None = settings.pop("max_rate", None)
            settings.pop("schedule", None)
            self._settings = settings
        finally:  # reports of errors may show a frame's locals
            del options, settings

    def __repr__(self) -> str:
        return f"<ClusterConfig: {self.keys} keys>"

    @property
    def keys(self) -> int:
        """How many keys there are."""
        return len(self._keys)

    def for_share(self, share: Share) -> ShardConfig:
        """Return what the shard with this share is told."""
        rate = self.max_rate if share.is_shared else share.max_rate
        settings = {**self._settings, "max_in_flight": share.max_in_flight, "max_rate": rate}
        keys = [self._keys[key] for key in share.keys]
        return ShardConfig(settings, keys, is_shared=share.is_shared)


class RunOptions(NamedTuple):
    """How the shards of a run are started, and what they are told; all of it is checked."""

    config: ClusterConfig
    schedule: Schedule[Any]
    shards: int
    address: str | None
    actor_options: Mapping[str, Any]
    restarts: int
    just_submitted: bool

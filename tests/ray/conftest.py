"""Set the environment of Ray, which reads it once, before any test of this folder imports Ray."""

from __future__ import annotations

from tests.support import ray_nodes  # noqa: F401 - sets it on import

"""What the gateway keeps of each query."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

__all__ = ["Query"]


class Query(msgspec.Struct, gc=False):
    """
    A query as it came, and what became of it.

    `at` and `answered` are loop times; `answered` is nan and `status` 0 until an
    answer is sent, and for ever if none is. `connection` counts from 1.
    """

    at: float
    connection: int
    token: str | None = None
    access_token: str | None = None
    method: str = "POST"
    path: str = ""
    request_id: str | None = None
    status: int = 0
    answered: float = math.nan
    headers: Mapping[str, str] | None = None

    @property
    def key(self) -> str | None:
        """The key that was presented, of either style."""
        return self.token if self.token is not None else self.access_token

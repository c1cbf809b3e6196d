"""The gateway's record of a query."""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec


class Query(msgspec.Struct, gc=False):
    """
    A query that arrived, and its answer.

    `at` and `answered` are loop times. Until an answer is sent, `answered` is nan and
    `status` is 0. `connection` is the number of its connection; the first is 1.
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
        """The key of the query, of either style; the token if it has both."""
        return self.token if self.token is not None else self.access_token

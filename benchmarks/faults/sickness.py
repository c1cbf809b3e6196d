"""What a sick id, key or gateway answers, by name, and which words an error must show for it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from typing import NamedTuple

import msgspec

from ideogram_async import IdeogramError
from ideogram_async.testing import (
    DROP,
    HANG,
    TRUNCATE,
    Fault,
    Query,
    Reply,
    html_reply,
    relay_error,
)


class Kind(NamedTuple):
    """One kind of fault."""

    fault: Fault
    words: str
    """A pattern that the message of an error must match, in any case."""

    def named(self, request_id: str) -> Fault:
        """Return the fault with words of its own for an id, where its answer has words."""
        if isinstance(self.fault, Reply):
            body = self.fault.body.replace(b"@", _own_word(request_id).encode())
            return msgspec.structs.replace(self.fault, body=body)
        return self.fault

    def is_told(self, error: IdeogramError, request_id: str) -> bool:
        """Return whether an error names the id, and the fault in the id's own words."""
        words = str(error)
        own = not self._has_own_word or _own_word(request_id) in words
        named = error.request_id == request_id
        return named and own and re.search(self.words, words, re.IGNORECASE) is not None

    @property
    def _has_own_word(self) -> bool:
        return isinstance(self.fault, Reply) and b"@" in self.fault.body


def _own_word(request_id: str) -> str:
    return f"case-{request_id[:6]}"


def failing(status: int) -> Reply:
    """Return an error in the relay's form, with a word of each id's own."""
    return relay_error(status, "out of order: @")


def asking_to_wait(status: int, seconds: int = 60) -> Reply:
    """Return the same with `Retry-After`."""
    reply = failing(status)
    headers = {**dict(reply.headers), "Retry-After": str(seconds)}
    return msgspec.structs.replace(reply, headers=headers)


KINDS: dict[str, Kind] = {
    "500": Kind(failing(500), "500"),
    "html-200": Kind(html_reply(200), "web page"),
    "html-502": Kind(html_reply(502), "502"),
    "410": Kind(failing(410), "410"),
    "drop": Kind(DROP, "closed|disconnected"),
    "truncate": Kind(TRUNCATE, "broke off|cut|incomplete"),
    "429": Kind(failing(429), "429"),
    "503": Kind(failing(503), "503"),
    "429-wait": Kind(asking_to_wait(429), "429"),
    "503-wait": Kind(asking_to_wait(503), "503"),
    "500-wait": Kind(asking_to_wait(500), "500"),
    "451": Kind(failing(451), "451"),
    "hang": Kind(HANG, "no (whole )?answer|timed? ?out"),
}
"""What an id may get for ever; `-wait` comes with `Retry-After: 60`."""


def for_ever(kind: Kind, ids: Collection[str]) -> Callable[[Query], Fault | None]:
    """Return what makes a gateway answer these ids by a fault, each time they are asked."""
    faults = {request_id: kind.named(request_id) for request_id in ids}

    def judge(query: Query) -> Fault | None:
        return faults.get(query.request_id or "")

    return judge

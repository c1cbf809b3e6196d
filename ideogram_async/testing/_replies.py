"""What the gateway can send instead of a record, and how it looks on the wire."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeAlias

import msgspec

__all__ = ["DROP", "HANG", "RESET", "TRUNCATE", "Altered", "Fault", "Reply", "TransportFault"]

Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
JSON = "application/json"


class TransportFault(enum.Enum):
    """What can befall a connection instead of an answer."""

    DROP = "closed before the answer"
    RESET = "reset before the answer"
    HANG = "never answered"
    TRUNCATE = "closed amid the answer"


DROP = TransportFault.DROP
RESET = TransportFault.RESET
HANG = TransportFault.HANG
TRUNCATE = TransportFault.TRUNCATE


class Reply(msgspec.Struct, frozen=True):
    """
    An answer sent as it stands; only Date and, if missing, Content-Length are added.

    `delay` is in seconds; None is the gateway's latency.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    delay: float | None = None

    def wire(self, date: str) -> bytes:
        """Return the answer's bytes."""
        lines = [f"HTTP/1.1 {self.status} {_reason(self.status)}"]
        lines += [f"{name}: {value}" for name, value in self._all_headers(date)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body

    def _all_headers(self, date: str) -> list[tuple[str, str]]:
        given = self.headers
        headers = list(given.items() if isinstance(given, Mapping) else given)
        names = {name.lower() for name, _ in headers}
        if "date" not in names:
            headers.append(("Date", date))
        if not names & {"content-length", "transfer-encoding"}:
            headers.append(("Content-Length", str(len(self.body))))
        return headers


class Altered(msgspec.Struct, frozen=True):
    """
    The right answer, changed.

    The function takes `{"sampling_requests": [record]}` and returns what is sent
    in its place: an object to encode as JSON, or bytes.
    """

    change: Callable[[dict[str, Any]], object]

    def reply(self, document: dict[str, Any]) -> Reply:
        """Return the changed answer."""
        changed = self.change(document)
        body = changed if isinstance(changed, bytes) else msgspec.json.encode(changed)
        return Reply(headers={"Content-Type": JSON}, body=body)


Fault: TypeAlias = Reply | Altered | TransportFault
"""What `Gateway.script` and `Gateway.on_query` take."""


def record_wire(body: bytes, date: str) -> bytes:
    """Return the bytes of a good answer; as `Reply.wire`, and faster."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def relay_error(
    status: int, message: str, *, kind: str = "one_api_error", **fields: object
) -> Reply:
    """Return an error as the relay words it."""
    return json_reply({"error": {"message": message, "type": kind, **fields}}, status)


def json_reply(document: object, status: int = 200, headers: Headers = ()) -> Reply:
    """Return an object as JSON."""
    return Reply(status, {"Content-Type": JSON, **dict(headers)}, msgspec.json.encode(document))


def html_reply(status: int) -> Reply:
    """Return a page, as a server in front of the relay answers."""
    title = f"{status} {_reason(status)}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status, {"Content-Type": "text/html"}, page.encode())


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"

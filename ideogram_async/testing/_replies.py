"""The answers that the gateway can send instead of a record, and their bytes."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping, Sequence
from http.client import responses
from typing import Any, Final, TypeAlias

import msgspec

Headers: TypeAlias = Mapping[str, str] | Sequence[tuple[str, str]]
JSON = "application/json"


class TransportFault(enum.Enum):
    """A fault of the connection, instead of an answer."""

    DROP = "closed before the answer"
    RESET = "reset before the answer"
    HANG = "never answered"
    TRUNCATE = "closed in the middle of the answer"


DROP = TransportFault.DROP
RESET = TransportFault.RESET
HANG = TransportFault.HANG
TRUNCATE = TransportFault.TRUNCATE


class Reply(msgspec.Struct, frozen=True):
    """
    An answer that is sent unchanged. Only Date and Content-Length are added, if missing.

    `delay` is in seconds; None stands for the gateway's latency.
    """

    status: int = 200
    headers: Headers = ()
    body: bytes = b""
    delay: float | None = None

    def wire(self, date: str) -> bytes:
        """Return the answer's bytes."""
        lines = [f"HTTP/1.1 {self.status} {responses.get(self.status, 'Unknown')}"]
        lines += [f"{name}: {value}" for name, value in self._all_headers(date)]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body

    def _all_headers(self, date: str) -> list[tuple[str, str]]:
        own = self.headers
        headers = list(own.items() if isinstance(own, Mapping) else own)
        names = {name.lower() for name, _ in headers}
        if "date" not in names:
            headers.append(("Date", date))
        if not names & {"content-length", "transfer-encoding"}:
            headers.append(("Content-Length", str(len(self.body))))
        return headers


class Altered(msgspec.Struct, frozen=True):
    """
    The right answer with a change.

    The function takes the answer, `{"sampling_requests": [record]}`, and returns its
    replacement: bytes, or an object to encode as JSON.
    """

    change: Callable[[dict[str, Any]], object]

    def reply(self, document: dict[str, Any]) -> Reply:
        """Return the changed answer."""
        changed = self.change(document)
        body = changed if isinstance(changed, bytes) else msgspec.json.encode(changed)
        return Reply(headers={"Content-Type": JSON}, body=body)


Fault: TypeAlias = Reply | Altered | TransportFault
"""A fault for `Gateway.script` and `Gateway.on_query`."""


def record_wire(body: bytes, date: str) -> bytes:
    """Return the bytes of a good answer: like `Reply.wire`, and faster."""
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: {date}\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def relay_error(
    status: int, message: str, *, kind: str = "one_api_error", **fields: object
) -> Reply:
    """Return an error in the relay's shape (seen)."""
    return json_reply({"error": {"message": message, "type": kind, **fields}}, status)


def json_reply(document: object, status: int = 200, headers: Headers = ()) -> Reply:
    """Return an answer whose body is an object as JSON."""
    return Reply(status, {"Content-Type": JSON, **dict(headers)}, msgspec.json.encode(document))


def html_reply(status: int) -> Reply:
    """Return a web page, as a server in front of the relay answers (seen)."""
    title = f"{status} {responses.get(status, 'Unknown')}"
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return Reply(status, {"Content-Type": "text/html"}, page.encode())


UNAUTHORIZED: Final = relay_error(401, "无效的令牌", code="")
"""The relay's refusal of a key (seen)."""


def invalid_url(method: str, path: str) -> Reply:
    """Return the relay's answer on a path that it does not know (seen)."""
    return relay_error(404, f"Invalid URL ({method} {path})", kind="invalid_request_error")

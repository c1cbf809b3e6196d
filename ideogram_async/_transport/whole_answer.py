"""Reads an answer that came whole, with a head like one before it, without aiohttp's parser.

The parser makes an object of every header, and a stream of the body: that is most of what an
answer costs. The heads of one gateway's answers are alike: the same headers, in the same order.
One that the parser has read becomes a pattern for those that follow. Whatever fits no pattern is
left to the parser, which reads the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ideogram_async._protocol.answers import read_good_answer
from ideogram_async._protocol.headers import LIMIT_HEADERS
from ideogram_async._protocol.outcome import Answer

_OK = 200  # `HTTPStatus.OK` costs more than the rest of the head on Python 3.11
_MOST_PATTERNS = 4
_MOST_HEADERS = 50
_ANY = rb"[\t -~\x80-\xff]*"
"""What a header's value may hold (RFC 9110): no control characters, and so no line's end."""
_VALUES = {
    b"content-length": rb"(?P<length>\d{1,9})",
    b"date": rb"(?P<date>[ -~]*)",
    b"connection": rb"(?i:keep-alive)",
}
_NOT_IN_A_PATTERN = frozenset(
    {
        *(b"content-encoding", b"trailer", b"transfer-encoding", b"upgrade"),
        *(b"retry-after", b"retry-after-ms"),
        *(b"ratelimit-policy", *(name.encode() for name in LIMIT_HEADERS)),
    }
)
"""Headers that change how the body is read, or that say something of a limit."""


class WholeAnswers:
    """Reads answers by the patterns of heads that the parser has read."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._patterns: list[re.Pattern[bytes]] = []

    def learn(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Make a pattern of an answer's head, if it allows one.

        A few answers are enough, for a pattern is not worth its price where heads differ.
        """
        names = [name.lower() for name, _ in headers]
        if (
            status == _OK
            and len(self._patterns) < _MOST_PATTERNS
            and len(names) <= _MOST_HEADERS
            and _NOT_IN_A_PATTERN.isdisjoint(names)
            and names.count(b"content-length") == 1
            and names.count(b"date") <= 1
        ):
            lines = [
                re.escape(name) + b": " + _VALUES.get(name.lower(), _ANY) for name, _ in headers
            ]
            no_date = rb"" if b"date" in names else rb"(?P<date>)"
            pattern = rb"\r\n".join([rb"HTTP/1\.1 200 " + _ANY, *lines, rb"", no_date])
            self._patterns.append(re.compile(pattern))

    def read(self, request_id: str, data: bytes) -> Answer | None:
        """Return the good answer that these bytes are, and nothing but it; else None.

        1. The head fits a pattern.
        2. The body is as long as `Content-Length` says, and not larger than `max_body`.
        3. It is a good answer, with a record of the id.
        """
        for pattern in self._patterns:
            head = pattern.match(data)
            if head is not None:
                body = data[head.end() :]
                if not int(head["length"]) == len(body) <= self._max_body:
                    return None
                return read_good_answer(request_id, head["date"].decode(), body)
        return None

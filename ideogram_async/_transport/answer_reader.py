"""Reads one answer with aiohttp's parser."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from aiohttp import http

from ideogram_async._transport.lane import UnreadableError

_Parser: Any = getattr(http, "HttpResponseParser", None)  # `choice.probe` looks whether it is there
_FIRST_FINAL_STATUS = 200
_SWITCHING_PROTOCOLS = 101


class AnswerReader:
    """Reads an answer of any form, by the pieces in which it comes.

    A new one for each answer: a kept parser could carry half of an extra answer over.
    """

    _reading_paused = False  # aiohttp's StreamReader looks at it in some versions

    def __init__(self, loop: asyncio.AbstractEventLoop, max_body: int) -> None:
        self.body = b""
        """Decoded; at least one byte more than `max_body` where the answer is larger."""
        self.reusable = True
        """Whether the connection may carry another query."""
        self.head: Any = None
        """Its status (`code`), `headers` and `raw_headers`, once the head is whole."""
        self._max_body = max_body
        self._payload: Any = None
        self._paused = False
        self._parser = _Parser(
            self,
            loop,
            max_body,
            payload_exception=aiohttp.ClientPayloadError,
            read_until_eof=True,
        )

    def feed(self, data: bytes) -> bool:
        """Read a part of the answer, and return whether it is whole.

        1. It is no HTTP, or a header is too long: an error is raised.
        2. The head is not whole, or that of a 1xx: more will come.
        3. The body is whole: the answer is. The connection is of no use if something follows it.
        4. The parser has paused: the answer may be too large.
        5. The body cannot be decoded: an error is raised.
        """
        try:
            messages, upgraded, _ = self._parser.feed_data(data)
        except Exception as error:  # whatever it is, the gateway's bytes cause it
            raise UnreadableError from error
        for message, payload in messages:
            if self.head is not None:
                self.reusable = False
            elif message.code >= _FIRST_FINAL_STATUS or message.code == _SWITCHING_PROTOCOLS:
                self.head, self._payload = message, payload
                self.reusable = not (message.should_close or upgraded)
        payload = self._payload
        if payload is None:
            return False
        if payload.is_eof():
            self.body += payload.read_nowait()
            return True
        if self._paused:
            return self._drain()
        broken: Exception | None = payload.exception()
        if broken is not None:
            raise broken
        return False

    def feed_eof(self) -> bool:
        """Read the end of the connection, and return whether the answer is whole."""
        if self.head is None:
            return False
        try:
            self._parser.feed_eof()
        except Exception as error:  # as in `feed`
            raise aiohttp.ClientPayloadError from error
        self.body += self._payload.read_nowait()
        return True

    def pause_reading(self) -> None:
        """Stop the parser: the body has twice `max_body`, or very many chunks.

        Else an answer of 64 KB could unpack to 64 MB before anybody looks at it.
        """
        self._paused = True
        self._parser.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Do nothing: `_drain` goes on by itself."""

    def _drain(self) -> bool:
        """Take what is there, and go on if that is not too much."""
        self._paused = False
        self.body += self._payload.read_nowait()
        if len(self.body) <= self._max_body:
            return self.feed(b"")
        self.reusable = False
        return True

"""A connection of the fast lane: one write per query, one future per answer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp

from ideogram_async._protocol.outcome import Fault
from ideogram_async._transport.answer_reader import AnswerReader
from ideogram_async._transport.lane import DeadConnectionError, Outcome, Read
from ideogram_async._transport.whole_answer import WholeAnswers


class Wire(asyncio.Protocol):
    """A connection that carries one query at a time.

    It stands in the place of aiohttp's own protocol, which goes on hearing of the connection's
    end: closing the connector waits for that.
    """

    def __init__(
        self,
        connection: Any,
        *,
        renew_at: float,
        max_body: int,
        read: Read,
        whole_answers: WholeAnswers,
        returned: Callable[[Wire, bool], None],
    ) -> None:
        self.renew_at = self.expires_at = renew_at
        """When it may carry no other query: it has been idle for too long, or is to be renewed."""
        self._connection = connection
        self._transport = connection.transport
        self._handler = connection.protocol
        self._max_body = max_body
        self._read = read
        self._whole_answers = whole_answers
        self._returned = returned
        """Is called when a query is over, and told whether the wire can carry another."""
        self._loop = asyncio.get_running_loop()
        self._answer: asyncio.Future[Outcome] | None = None
        self._request_id = ""
        self._until = 0.0
        self._reader: AnswerReader | None = None
        """Reads the answer, if it is not the usual one; None while nothing of it has come."""
        self._reused = False

    def is_usable(self, now: float) -> bool:
        """Return whether it may carry another query."""
        return now < self.expires_at and not self._transport.is_closing()

    def keep(self, until: float) -> None:
        """Record that it is idle, and may carry another query until then."""
        self.expires_at = min(until, self.renew_at)

    @property
    def is_cancelled(self) -> bool:
        """Whether nobody waits for the answer to its query any more."""
        return self._answer is not None and self._answer.cancelled()

    def ask(self, request_id: str, query: bytes, until: float) -> asyncio.Future[Outcome]:
        """Send the query for an id, and return the future of what it comes to."""
        self._request_id, self._until = request_id, until
        self._answer = answer = self._loop.create_future()
        self._transport.write(query)
        return answer

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def time_out(self) -> None:
        """End the query, for its time is up."""
        self._fail(TimeoutError())

    def data_received(self, data: bytes) -> None:
        """Read a part of an answer.

        1. Nothing is asked: a late extra answer (aiohttp's issue 13656). The connection is closed.
        2. It is all of an answer of the usual form, and a good one.
        3. It is a part of any other answer.
        4. It cannot be read: the query fails.
        """
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        if self._reader is None:
            outcome = self._whole_answers.read(self._request_id, data)
            if outcome is not None:
                self._end(reusable=True)
                answer.set_result(outcome)
                return
            self._reader = AnswerReader(self._loop, self._max_body)
        try:
            if self._reader.feed(data):
                self._finish(answer, self._reader)
        except Exception as error:  # noqa: BLE001 - the boundary of the loop's callbacks
            self._fail(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """End the query under way, if any.

        1. The body lasts until the end of the connection: the answer is whole.
        2. The answer is cut: the query fails.
        3. Nothing of it came on a reused connection: the query may never have come.
        4. Nothing of it came on a new connection: the query fails.
        """
        self._handler.connection_lost(exc)
        self.close()
        answer, reader = self._answer, self._reader
        if answer is None or answer.done():
            return
        try:
            if reader is not None and reader.feed_eof():
                self._finish(answer, reader)
                return
        except Exception as error:  # noqa: BLE001 - as in `data_received`
            self._fail(error)
            return
        if reader is None and self._reused:
            self._fail(DeadConnectionError(self._until))
        elif isinstance(exc, OSError):
            self._fail(aiohttp.ClientOSError(*exc.args))
        else:
            self._fail(aiohttp.ServerDisconnectedError())

    def _finish(self, answer: asyncio.Future[Outcome], reader: AnswerReader) -> None:
        """Return what an answer says, and keep the connection if nothing speaks against it."""
        head = reader.head
        outcome = self._read(self._request_id, head.code, head.headers, reader.body)
        is_misplaced = isinstance(outcome, Fault) and outcome.is_misplaced
        reusable = reader.reusable and not is_misplaced and len(reader.body) <= self._max_body
        if reusable:
            self._whole_answers.learn(head.code, head.raw_headers)
        self._end(reusable=reusable)
        answer.set_result(outcome)

    def _fail(self, error: Exception) -> None:
        answer = self._answer
        self._end(reusable=False)
        if answer is not None and not answer.done():
            answer.set_exception(error)

    def _end(self, *, reusable: bool) -> None:
        self._answer = self._reader = None
        self._reused = True
        self._returned(self, reusable)

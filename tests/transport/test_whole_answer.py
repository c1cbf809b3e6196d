"""Answers of the usual form: what is read without the parser, and that it is read alike."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Answer
from ideogram_async._transport.answer_reader import AnswerReader
from ideogram_async._transport.lane import Outcome
from ideogram_async._transport.whole_answer import WholeAnswers
from tests.support.raw_server import record, reply

ID = "an-id"
DONE = record(ID)
MAX_BODY = 10_000
USUAL = (
    "Server: nginx",
    "Date: Tue, 14 Nov 2023 22:13:40 GMT",
    "Connection: keep-alive",
    "CF-Ray: 8c0ffee0deadbeef-FRA",
)


def usual(*headers: str, body: Mapping[str, object] | bytes = DONE) -> bytes:
    """Make an answer under the headers that most have."""
    return reply(body, "200 OK", *USUAL, *headers)


def parsed(data: bytes) -> tuple[Outcome, AnswerReader] | None:
    """Return what the parser reads, or None where the answer is not whole, or no HTTP."""
    loop = asyncio.new_event_loop()
    try:
        reader = AnswerReader(loop, MAX_BODY)
        whole = reader.feed(data)
    except Exception:  # noqa: BLE001 - whatever it is
        return None
    finally:
        loop.close()
    if not whole:
        return None
    return read_answer(ID, reader.head.code, reader.head.headers, reader.body), reader


def taught(*answers: bytes) -> WholeAnswers:
    """Return a reader that has learned the heads of answers."""
    whole_answers = WholeAnswers(MAX_BODY)
    for answer in answers:
        found = parsed(answer)
        assert found is not None
        head = found[1].head
        whole_answers.learn(head.code, head.raw_headers)
    return whole_answers


def test_a_head_that_is_known() -> None:
    """The values of its headers may differ, and what is read is what the parser reads."""
    later = usual().replace(b"22:13:40", b"22:13:41").replace(b"8c0ffee0", b"90000000")
    for answer in (usual(), later, usual(body=record(ID, 50))):
        found = parsed(answer)
        assert found is not None
        assert taught(usual()).read(ID, answer) == found[0]
    assert WholeAnswers(MAX_BODY).read(ID, usual()) is None


def test_a_head_without_a_date() -> None:
    """It is known again as well."""
    answer = taught(reply(DONE)).read(ID, reply(DONE))
    assert isinstance(answer, Answer)
    assert answer.server_time is None


_OTHERS: dict[str, bytes] = {
    "another header": usual("Age: 0"),
    "one header less": usual().replace(b"Server: nginx\r\n", b""),
    "another order": reply(DONE, "200 OK", *USUAL[::-1]),
    "in other letters": usual().replace(b"Server:", b"server:"),
    "closing": usual().replace(b"keep-alive", b"close"),
    "another status": usual().replace(b"200 OK", b"201 Created"),
    "another version": usual().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "a first part": usual()[:-1],
    "a head alone": usual().partition(b"\r\n\r\n")[0],
    "more than one": usual() + b"H",
    "a line that ends early": usual().replace(b"nginx", b"nginx\nTransfer-Encoding: chunked"),
    "a zero byte": usual().replace(b"nginx", b"ngi\0nx"),
    "another id": usual(body=record("other")),
    "no answer": usual(body=b"{}"),
    "no JSON": usual(body=b"OK"),
    "too large": usual(body={**DONE, "user_prompt": "x" * MAX_BODY}),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_what_is_left_to_the_parser(name: str) -> None:
    """An answer of another form, or that is no good one."""
    assert taught(usual()).read(ID, _OTHERS[name]) is None


@pytest.mark.parametrize(
    "header",
    [
        "Content-Encoding: identity",
        "Trailer: X",
        "Retry-After: 5",
        "Retry-After-Ms: 500",
        "RateLimit: limit=9, remaining=5, reset=3",
        "RateLimit-Remaining: 5",
        "X-RateLimit-Remaining: 5",
        "X-RateLimit-Remaining-Requests: 5",
        "RateLimit-Policy: 10;w=1",
    ],
)
def test_a_head_that_is_not_learned(header: str) -> None:
    """Headers that matter are read by the parser, always."""
    assert taught(usual(header)).read(ID, usual(header)) is None


def test_no_more_than_a_few_heads_are_learned() -> None:
    """A gateway whose heads all differ makes no query slow."""
    heads = [usual(f"X-Number-{number}: 1") for number in range(6)]
    whole_answers = taught(*heads)
    known = [whole_answers.read(ID, head) is not None for head in heads]
    assert known == [True] * 4 + [False] * 2


def test_heads_of_errors_are_not_learned() -> None:
    """They leave the room for a few heads to good answers."""
    errors = [reply(b"{}", "500 Error", *USUAL, f"X-Number-{number}: 1") for number in range(4)]
    assert taught(*errors, usual()).read(ID, usual()) is not None


_PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b"\0", b" ", b"\t", b":", b": ", b"\xff", b"chunked", b"close"),
        *(b"Transfer-Encoding: chunked\r\n", b"Content-Length: 5\r\n", b"Connection: close\r\n"),
        *(b"0", b"9", b"HTTP/1.1 200 OK\r\n", b"gzip", b"X-Name: value\r\n"),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_what_is_read_is_what_the_parser_reads(data: st.DataObject) -> None:
    """Whatever is changed in an answer: it is left to the parser, or read as that reads it."""
    answer = usual()
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(answer)))
        removed = data.draw(st.integers(0, 12))
        answer = answer[:at] + data.draw(st.just(b"") | _PIECES) + answer[at + removed :]
    outcome = taught(usual()).read(ID, answer)
    if outcome is not None:
        found = parsed(answer)
        assert found is not None
        assert found[0] == outcome
        assert found[1].reusable

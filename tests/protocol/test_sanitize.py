"""The gateway's words in our errors: printable, of a sane length, and never with a key in them."""

from __future__ import annotations

import copy
import json
import pickle
import traceback
import unicodedata
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async import IdeogramError
from ideogram_async._protocol.answers import read_answer
from ideogram_async._protocol.outcome import Fault
from ideogram_async._protocol.sanitize import MOST_CHARACTERS, clean, printable

CANARY = "sk-CANARY0123456789abcdef"
ACCESS_CANARY = "12345678-CANARY.+*?$"
SECRETS = (CANARY, ACCESS_CANARY)
ID = "-example_id-0000000001"


def told(status: int, document: object, headers: dict[str, str] | None = None) -> list[str]:
    """Give all that the error of an answer tells of itself, in every form that it has."""
    body = json.dumps(document).encode()
    fault = read_answer(ID, status, headers or {}, body, secrets=SECRETS)
    assert isinstance(fault, Fault)
    return [str(fault), *everything(fault.error)]


def everything(error: IdeogramError) -> list[str]:
    """Give an error's text in every form."""
    return [
        str(error),
        repr(error),
        repr(error.args),
        repr(vars(error)),
        repr(copy.copy(error)),
        pickle.dumps(error, 0).decode("latin-1"),
        "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format()),
    ]


ECHOES = {
    "error": lambda text: {"error": {"message": text, "type": "one_api_error"}},
    "error as text": lambda text: {"error": text},
    "task": lambda text: {"code": "quota_not_enough", "message": text, "data": None},
    "code": lambda text: {"code": text, "message": text},
    "problem": lambda text: {"title": "t", "detail": text},
    "title": lambda text: {"title": text},
    "dashboard": lambda text: {"success": False, "message": text},
}
AROUND = {
    "plain": "invalid token {} (remaining 0)",
    "header": "Authorization: Bearer {}",
    "alone": "{}",
    "twice": "{0}{0}",
    "coloured": "\x1b[31m{}\x1b[0m",
    "quoted": '"{}"',
    "at the cut": "x" * (MOST_CHARACTERS - 10) + "{}",
    "after the cut": "x" * (MOST_CHARACTERS + 10) + "{}",
}
STATUSES = [200, 301, 400, 401, 403, 404, 422, 429, 500, 503, 522]


@pytest.mark.parametrize("echo", ECHOES.values(), ids=ECHOES)
def test_no_error_holds_a_key_that_the_gateway_echoes(echo: object) -> None:
    """Whatever status and shape an error comes in, an echoed key is struck out of all it tells."""
    assert callable(echo)
    for around, key, status in product(AROUND.values(), SECRETS, STATUSES):
        for text in told(status, echo(around.format(key))):
            assert key not in text
            assert "CANARY" not in text


@pytest.mark.parametrize("gap", ["\x00", "\n", "\u200b", "\u202e", " ", "\u2028\t", "\xad"])
def test_a_key_is_known_through_control_characters(gap: str) -> None:
    """A key broken by blanks, or by characters that are not shown, is struck out all the same."""
    broken = gap.join(CANARY)
    assert clean(f"token {broken} refused", SECRETS) == "token *** refused"


@pytest.mark.parametrize("filler", ["x", " ", "\x00"])
def test_no_part_of_a_key_stands_at_the_cut(filler: str) -> None:
    """Where a long message is cut, no beginning of a key is left, blanks folded or not."""
    for blanks in (0, 1, 5000, 5700, *range(5960, 6001)):
        text = clean(filler * blanks + f"{CANARY}{ACCESS_CANARY}" + " y" * 4000, SECRETS)
        assert "sk-" not in text
        assert "1234" not in text
        assert len(text) <= MOST_CHARACTERS + 1
        spaced = clean(filler * blanks + " ".join(CANARY) + " y" * 4000, SECRETS)
        assert "s k" not in spaced


def test_a_redirect_does_not_echo_the_key() -> None:
    """A key in the address that a redirect points to is struck out as well."""
    for place in (f"https://{CANARY}.example/", f"https://a.example/{CANARY}", f"/{CANARY}/b"):
        for text in told(302, {}, {"Location": place}):
            assert "CANARY" not in text


@pytest.mark.parametrize("keys", [SECRETS, SECRETS[::-1], ("", *SECRETS)])
def test_all_keys_are_struck_out(keys: tuple[str, ...]) -> None:
    """Every key of the client goes, in any order, and no key at all strikes out nothing."""
    assert clean(f"{CANARY} and {ACCESS_CANARY}", keys) == "*** and ***"
    assert clean("a message", ("",)) == clean("a message") == "a message"


def test_a_key_may_look_like_a_pattern() -> None:
    """What a key means to a regular expression means nothing here."""
    assert clean("abc a.c", ("a.c",)) == "abc ***"
    assert clean(r"x \d+ y", (r"\d+",)) == "x *** y"


@pytest.mark.parametrize("status", STATUSES)
def test_a_long_message_is_cut(status: int) -> None:
    """However long the gateway's words are, the error stays short enough for a log's line."""
    for text in ("word " * 5_000, "x" * 20_000, "\u202e" * 20_000):
        message = told(status, {"error": {"message": text}})[1]
        assert len(message) < MOST_CHARACTERS + 120


def test_control_and_bidi_characters_are_gone() -> None:
    """What could act on a terminal, or turn a line around, reads as one blank."""
    text = "a\x00\x07\x1b[31mb\x7f\x85\u200e\u202e\u2066\ufeff\r\n\tc\u2028d\ud800e\U000e0001f"
    assert printable(text) == "a [31mb c d e f"
    text = text.replace("\ud800", "")
    assert told(500, {"error": {"message": text}})[1].endswith("500: a [31mb c de f")


def test_ordinary_words_of_any_script_stay() -> None:
    """Messages in Chinese, accents and emoji are told as they are."""
    for text in ("该令牌额度已用尽", "Überlastet — später!", "😀 ok", "a  b"):
        assert clean(text) == " ".join(text.split())


@given(st.text())
def test_messages_are_printable(text: str) -> None:
    """Whatever comes, what is told holds no control, format or surrogate character."""
    cleaned = clean(text)
    assert all(unicodedata.category(character)[0] != "C" for character in cleaned)
    assert cleaned == cleaned.strip()
    assert cleaned.encode() is not None
    assert len(cleaned) <= MOST_CHARACTERS + 1


@given(st.text())
def test_printable_text_is_one_plain_line(text: str) -> None:
    """No control, format, bidi or surrogate character is left, and all printable ones are."""
    plain = printable(text)
    assert plain.isprintable()
    assert plain.replace(" ", "") == "".join(c for c in text if c.isprintable() and c != " ")


_PIECES = st.sampled_from(
    [CANARY, ACCESS_CANARY, CANARY[:9], "x", " ", "\x00", "\u200b", "y" * 290]
)


@given(st.lists(_PIECES, max_size=40))
def test_no_mixture_tells_a_key(pieces: list[str]) -> None:
    """However keys, parts of them and other text stand together, no whole key is told."""
    folded = clean("".join(pieces), SECRETS).replace(" ", "")
    assert not any(key in folded for key in SECRETS)

"""Text from the gateway, made fit for messages and terminals."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

LONGEST = 300
"""Characters of a gateway's message that are kept."""


def printable(text: str) -> str:
    """Replace each run of blanks, control, format and bidi characters by one blank."""
    return " ".join("".join(c if _is_plain(c) else " " for c in text).split())


def _is_plain(character: str) -> bool:
    return unicodedata.category(character)[0] not in {"C", "Z"}


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Make a message of it: printable, without secrets, of a sane length."""
    text = printable(text[: 20 * LONGEST])
    for secret in secrets:
        text = text.replace(secret, "***")
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

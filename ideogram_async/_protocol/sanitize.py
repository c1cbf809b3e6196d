"""Text from the gateway, made fit for messages, logs and terminals."""

from __future__ import annotations

import re
from collections.abc import Iterable

MOST_CHARACTERS = 300
"""Characters of a gateway's message that are kept."""
_MOST_CHARACTERS_READ = 20 * MOST_CHARACTERS


def printable(text: str) -> str:
    """Return the text with one blank for each run of blanks, control, format or bidi characters."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Make a message of it: printable, without secrets, of a sane length."""
    secrets = [secret for secret in secrets if secret]
    cut = len(text) > _MOST_CHARACTERS_READ
    text = printable(text[:_MOST_CHARACTERS_READ])
    if cut and secrets:  # a secret that the cut parted would not be recognised
        text = text[: max(len(text) - 2 * max(map(len, secrets)), 0)]
    for secret in secrets:
        if secret in text.replace(" ", ""):  # blanks may stand where control characters did
            text = re.sub(" ?".join(map(re.escape, secret)), "***", text)
    return text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}…"

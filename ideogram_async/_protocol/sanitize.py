"""Text from the gateway, made fit for messages and terminals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LONGEST = 300
"""Characters of a gateway's message that are kept."""
_READ = 20 * LONGEST


def printable(text: str) -> str:
    """Replace each run of blanks, control, format and bidi characters by one blank."""
    return " ".join("".join(c if _is_plain(c) else " " for c in text).split())


def _is_plain(character: str) -> bool:
    return unicodedata.category(character)[0] != "C"


def clean(text: str, secrets: Iterable[str] = ()) -> str:
    """Make a message of it: printable, without secrets, of a sane length."""
    secrets = [secret for secret in secrets if secret]
    cut = len(text) > _READ
    text = printable(text[:_READ])
    if cut and secrets:  # a secret that the cut parted would not be recognised
        text = text[: max(len(text) - 2 * max(map(len, secrets)), 0)]
    for secret in secrets:
        if secret in text.replace(" ", ""):  # blanks may stand where control characters did
            text = re.sub(" ?".join(map(re.escape, secret)), "***", text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"

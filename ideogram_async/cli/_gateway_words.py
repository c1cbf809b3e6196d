"""Why queries wait, in words: the gateway cannot be reached, it throttles, or it refuses keys."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from ideogram_async import SessionStatistics, Statistics
from ideogram_async._protocol.sanitize import printable

LEAST_SECONDS_BETWEEN_LINES = 5.0
"""A gateway that comes and goes would fill a log otherwise."""
NOT_THROTTLED = "queries go out again"
_NO_ANSWER = re.compile(r"no answer from (\S+): (.*)", re.DOTALL)


def trouble_in_words(base_url: str, figures: Statistics) -> tuple[str, str]:
    """Return why queries wait, and when the next try is; both are empty where they do not wait.

    1. A session is open: its queries go out. Refused keys are named.
    2. No session is open: the one that is tried next says why. Where no other is left, it is one
       whose key is refused.
    """
    closed = [one for one in figures.sessions if one.state != "open"]
    if not closed:
        return "", ""
    if len(closed) < len(figures.sessions):
        return _refused_keys(figures.sessions), ""
    usable = [one for one in closed if one.state != "refused"] or closed
    session = min(usable, key=lambda one: one.next_try)
    when = f", next try in {session.next_try:.0f} s" if session.next_try >= 1 else ""
    return _why(base_url, session), when


def _refused_keys(sessions: tuple[SessionStatistics, ...]) -> str:
    return ", ".join(
        f"key {index} of {len(sessions)} is refused ({printable(session.reason or 'no reason')})"
        for index, session in enumerate(sessions, 1)
        if session.state == "refused"
    )


def _why(base_url: str, session: SessionStatistics) -> str:
    reason = printable(session.reason or "no reason known")
    if session.state == "refused":
        return f"the key is refused ({reason})"
    if session.state == "throttled":
        return f"throttled ({reason})"
    unreached = _NO_ANSWER.fullmatch(reason)
    if unreached:
        return f"{unreached[1]} cannot be reached ({unreached[2]})"
    return f"{urlsplit(base_url).netloc} answers with errors ({reason})"


class TroubleLines:
    """The lines on a pipe: one at each change, at most one in 5 s, and one when all is well."""

    def __init__(self) -> None:
        self._shown = ""
        self._shown_at = -LEAST_SECONDS_BETWEEN_LINES

    def next_line(self, now: float, why: str, when: str) -> str:
        """Return the line to print now, or an empty one."""
        if why == self._shown or now - self._shown_at < LEAST_SECONDS_BETWEEN_LINES:
            return ""
        line = why + when if why else _end_of(self._shown)
        self._shown, self._shown_at = why, now
        return line


def _end_of(former: str) -> str:
    """Return what is well again, by what was wrong."""
    for sign, words in (
        (" cannot be reached", "can be reached"),
        (" answers with", "answers well"),
    ):
        host, found, _ = former.partition(sign)
        if found:
            return f"{host} {words} again"
    return NOT_THROTTLED

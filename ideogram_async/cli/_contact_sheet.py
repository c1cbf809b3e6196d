"""The contact sheet: one page, `index.html`, that shows the images which stand beside it.

Prompts are foreign text: each is escaped, and without characters that are no text. The page asks
for nothing but the images. Its one script filters by words; the page names the script's hash, so
that a browser runs no other.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote, urlsplit

from anyio import to_thread

from ideogram_async import SamplingRequest
from ideogram_async.cli._console import counted
from ideogram_async.cli._exit_codes import Code, CommandError

NAME = "index.html"
PAUSE_SECONDS = 1.0
"""Between two versions, at least; a long page is written more rarely."""
TIME_SHARE = 0.02
"""The part of the time that may be spent on it."""
PROMPT_CHARACTERS = 5000
"""Characters of a prompt that are on the page."""
CLAMPED_PROMPT_CHARACTERS = 200
"""Characters of it that are shown; the rest is there after a click."""
ALT_CHARACTERS = 300
ID_CHARACTERS = 80
JOINERS = "\u200c\u200d"
"""Kept though they are invisible: without them Persian and Hindi are misspelt, and emoji split."""
BALANCED = ".balanced"
"""What the name of a smaller image holds, before its suffix."""
SUFFIXES = (".png", ".jpg", ".webp", ".avif", ".gif")
"""What a download may end with."""

_MARK = '<meta name="generator" content="ideogram-async">'
_SCRIPT = """
const box = document.querySelector("input");
const sections = [...document.querySelectorAll("section")];
const texts = sections.map(section => section.textContent.toLowerCase());
box.addEventListener("input", () => {
  const words = box.value.toLowerCase().split(/\\s+/);
  sections.forEach((section, place) => {
    section.hidden = !words.every(word => texts[place].includes(word));
  });
});
"""
_SCRIPT_HASH = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
_STYLE = """
:root { color-scheme: light dark; --text: #1c1c1a; --faint: #5c5c58; --page: #f6f6f4;
  --card: #fff; --bad: #a11 }
@media (prefers-color-scheme: dark) {
  :root { --text: #eae9e4; --faint: #a9a8a2; --page: #161615; --card: #232321; --bad: #f88 }
}
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5em; color: var(--text);
  background: var(--page) }
header { display: flex; flex-wrap: wrap; gap: .4em 2em; align-items: baseline; margin-bottom: 1em }
h1 { font-size: 1.3em; margin: 0 }
input { font: inherit; flex: 1 1 14em; max-width: 28em; padding: .3em .6em }
main { display: grid; gap: 1.2em; align-items: start;
  grid-template-columns: repeat(auto-fill, minmax(min(16em, 100%), 1fr)) }
section { background: var(--card); border-radius: 6px; padding: .7em; overflow-wrap: anywhere;
  content-visibility: auto; contain-intrinsic-size: auto 22em }
.images { display: grid; gap: .4em; grid-template-columns: repeat(auto-fit, minmax(6em, 1fr)) }
img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; background: var(--page) }
p, details { margin: .5em 0 }
small, .facts { color: var(--faint) }
.reason { color: var(--bad) }
details[open] span, [hidden] { display: none }
summary { cursor: pointer }
"""
_HEAD = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{_MARK}
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src 'self' file:; \
style-src 'unsafe-inline'; script-src 'sha256-{_SCRIPT_HASH}'">
<meta name="viewport" content="width=device-width, initial-scale=1">
"""
_FOOT = f"</main><script>{_SCRIPT}</script></body></html>\n"
_ENTRY = re.compile(r'<section id="([^"]*)">.*</section>')


class ContactSheet:
    """The page of a directory; what an earlier call has put on it stays."""

    def __init__(self, directory: Path, *, base_url: str = "", order: Iterable[str] = ()) -> None:
        self._directory = directory
        self._path = directory / NAME
        self._gateway = urlsplit(base_url).netloc
        self._order = {request_id: place for place, request_id in enumerate(order)}
        self._entries = self._former()
        self._changed = asyncio.Event()
        self._changes = 0
        self._written = 0
        """How many of the changes are on the disk."""
        self._writing = threading.Lock()

    def add(
        self, request: SamplingRequest | None, request_id: str, paths: Iterable[Path], reason: str
    ) -> None:
        """Show a request: its images, or why there are none. A request is shown once."""
        request_id = _plain(request_id, ID_CHARACTERS)
        entry = _entry(request, request_id, [*paths], reason)
        if self._entries.get(request_id) != entry:
            self._entries[request_id] = entry
            self._changes += 1
            self._changed.set()

    async def keep(self) -> None:
        """Write it again and again, as entries come."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = time.perf_counter()
            try:
                await to_thread.run_sync(self._write, *self._version())
            except OSError:
                self._changed.set()  # tried again, and told at the end if it lasts
            await asyncio.sleep(max(PAUSE_SECONDS, (time.perf_counter() - began) / TIME_SHARE))

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._written < self._changes:
            self._write(*self._version())

    def _version(self) -> tuple[str, int]:
        """Return the page, and the number of changes that are on it."""
        return self._page(), self._changes

    def _page(self) -> str:
        """Return the page: the requests in the order of the ids, then those of earlier calls."""
        last = len(self._order)
        ids = sorted(self._entries, key=lambda one: self._order.get(one, last))
        entries = [self._entries[one] for one in ids]
        images = sum(entry.count("<img ") for entry in entries)
        title = (
            f"{counted(images, 'image', 'images')} of {counted(len(ids), 'request', 'requests')}"
        )
        facts = filter(None, (time.strftime("%Y-%m-%d %H:%M"), self._gateway))
        return (
            f"{_HEAD}<title>{title}</title><style>{_STYLE}</style></head><body>\n"
            f'<header><h1>{title}</h1><span class="facts">{_safe(" · ".join(facts))}</span>'
            '<input type="search" aria-label="Filter" placeholder="prompt, id, model, seed …">'
            "</header><main>\n" + "".join(f"{entry}\n" for entry in entries) + _FOOT
        )

    def _write(self, page: str, changes: int) -> None:
        """Write a page, unless a later one is there.

        A thread goes on when its task is cancelled, and can then be late.
        """
        with self._writing:
            if changes > self._written:
                self._replace(page)
                self._written = changes

    def _replace(self, page: str) -> None:
        """Put a page in the place of the former, whole or not at all."""
        self._directory.mkdir(parents=True, exist_ok=True)  # nothing was downloaded into it yet
        part = self._directory / f".ideogram-{secrets.token_hex(8)}.part"
        try:
            with part.open("x", encoding="utf-8") as file:
                file.write(page)
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._path)
        finally:
            part.unlink(missing_ok=True)

    def _former(self) -> dict[str, str]:
        """Read the entries of an earlier call; refuse a page that is not ours."""
        try:
            text = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError):
            text = ""
        if _MARK not in text[:200] or self._path.is_symlink():
            raise CommandError(f"{self._path} is not ours: it is left as it is", Code.USAGE)
        return {html.unescape(one[1]): one[0] for one in _ENTRY.finditer(text)}


def _entry(request: SamplingRequest | None, request_id: str, paths: list[Path], reason: str) -> str:
    """Return the line of a request."""
    prompt = "" if request is None else _plain(request.user_prompt or "", PROMPT_CHARACTERS)
    images = "".join(
        _image(path, _alt(prompt, place, len(paths))) for place, path in enumerate(paths, 1)
    )
    parts = [f'<div class="images">{images}</div>' if images else "", _prompt(prompt)]
    if reason:
        parts.append(
            f'<p class="reason">{_safe(_plain(reason, CLAMPED_PROMPT_CHARACTERS * 2))}</p>'
        )
    parts.append(f"<small>{_safe(' · '.join(_facts(request, request_id)))}</small>")
    return f'<section id="{_safe(request_id)}">{"".join(parts)}</section>'


def _image(path: Path, alt: str) -> str:
    """Return an image that links to its file; the smaller one is shown where both exist."""
    stem = path.name.partition(".")[0]
    small = _existing(path, f"{stem}{BALANCED}") or path.name
    large = _existing(path, stem) or path.name
    return (
        f'<a href="{quote(large)}"><img src="{quote(small)}" loading="lazy" alt="{_safe(alt)}"></a>'
    )


def _existing(path: Path, stem: str) -> str | None:
    """Return the name of an image beside this one, or None."""
    names = (f"{stem}{suffix}" for suffix in SUFFIXES)
    return next((name for name in names if path.with_name(name).exists()), None)


def _alt(prompt: str, place: int, count: int) -> str:
    name = _cut(prompt, ALT_CHARACTERS) or "no prompt"
    return name if count == 1 else f"{name} (image {place} of {count})"


def _prompt(prompt: str) -> str:
    """Return a prompt, in its own direction; a long one is shown whole after a click."""
    if len(prompt) <= CLAMPED_PROMPT_CHARACTERS:
        return f'<p dir="auto">{_safe(prompt)}</p>'
    start = _cut(prompt, CLAMPED_PROMPT_CHARACTERS)
    return (
        f'<details><summary dir="auto"><span>{_safe(start)}</span></summary>'
        f'<p dir="auto">{_safe(prompt)}</p></details>'
    )


def _facts(request: SamplingRequest | None, request_id: str) -> list[str]:
    facts = []
    if request is not None:
        if request.width and request.height:
            facts.append(f"{request.width} by {request.height}")
        if request.seed is not None:
            facts.append(f"seed {request.seed}")
        facts.append(_plain(request.model_version or "", 40))
    return [fact for fact in (*facts, request_id) if fact]


def _plain(text: str, longest: int) -> str:
    """Return a text of the gateway on one line: what is not printable is a blank, but joiners."""
    start = text[: 2 * longest]
    kept = "".join(one if one.isprintable() or one in JOINERS else " " for one in start)
    return _cut(" ".join(kept.split()), longest)


def _cut(text: str, longest: int) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def _safe(text: str) -> str:
    """Escape text, for which neither a tag nor an attribute has an end."""
    return html.escape(text.encode(errors="replace").decode())

"""The contact sheet: one page, `index.html`, that shows the images which stand beside it.

Prompts are foreign text: each is escaped, printable and cut. The page has no script, and asks for
nothing but the images.
"""

from __future__ import annotations

import asyncio
import html
import os
import re
import secrets
import time
from typing import TYPE_CHECKING
from urllib.parse import quote

from anyio import to_thread

from ideogram_async.cli._console import shortened
from ideogram_async.cli._exit_codes import Code, CommandError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ideogram_async import SamplingRequest

NAME = "index.html"
PAUSE = 1.0
"""Seconds between two versions, at least; a long page is written more seldom."""
SHARE = 0.02
"""The part of the time that may be spent on it."""
LONGEST = 500
"""Characters of a prompt that are shown."""

_MARK = '<meta name="generator" content="ideogram-async">'
_HEAD = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">{_MARK}
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src 'self' file:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width"><title>Images</title>
<style>
body {{ font: 14px/1.4 system-ui, sans-serif; margin: 2em; color: #222; background: #f6f6f4 }}
main {{ display: grid; gap: 1.5em; grid-template-columns: repeat(auto-fill, minmax(15em, 1fr)) }}
figure {{ margin: 0 }}
img {{ width: 100%; aspect-ratio: 1; object-fit: contain; background: #e4e4e0 }}
figcaption {{ overflow-wrap: anywhere }} small {{ color: #666 }}
</style></head><body><main>
"""
_FOOT = "</main></body></html>\n"
_ENTRY = re.compile(r'<figure id="([^"]+)">.*</figure>')


class ContactSheet:
    """The page of a directory; what an earlier call has put on it stays."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / NAME
        self._entries = self._former()
        self._changed = asyncio.Event()

    def add(self, request: SamplingRequest, paths: Iterable[Path]) -> None:
        """Show the images of a request."""
        for path in paths:
            entry = _entry(request, path)
            if self._entries.get(path.name) != entry:
                self._entries[path.name] = entry
                self._changed.set()

    async def keep(self) -> None:
        """Write it again and again, as entries come."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            began = time.perf_counter()
            try:
                await to_thread.run_sync(self._write, self._page())
            except OSError:
                self._changed.set()  # tried again, and told at the end if it lasts
            await asyncio.sleep(max(PAUSE, (time.perf_counter() - began) / SHARE))

    def finish(self) -> None:
        """Write what is not written yet."""
        if self._changed.is_set():
            self._write(self._page())

    def _page(self) -> str:
        return _HEAD + "".join(f"{entry}\n" for entry in self._entries.values()) + _FOOT

    def _write(self, page: str) -> None:
        """Put a page in the place of the former, whole or not at all."""
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


def _entry(request: SamplingRequest, path: Path) -> str:
    """Make the line for an image."""
    size = f"{request.width} by {request.height}" if request.width and request.height else ""
    facts = [size, "" if request.seed is None else f"seed {request.seed}"]
    facts += [shortened(request.model_version or "", 40), shortened(request.request_id, 80)]
    link = quote(path.name)
    return (
        f'<figure id="{_safe(path.name)}"><a href="{link}"><img src="{link}" loading="lazy" alt="">'
        f"</a><figcaption>{_safe(shortened(request.user_prompt or '', LONGEST))}<br>"
        f"<small>{_safe(' · '.join(filter(None, facts)))}</small></figcaption></figure>"
    )


def _safe(text: str) -> str:
    """Escape text, for which neither a tag nor an attribute has an end."""
    return html.escape(text.encode(errors="replace").decode())

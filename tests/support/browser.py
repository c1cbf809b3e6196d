"""A page as a browser shows it: headless Chromium, where it is installed."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")


def probe(page: Path, folder: Path, script: str, *options: str, width: int = 1000) -> str | None:
    """Open a page of a width in pixels, run a script on its document `d`, and return its title.

    The script sets the title: that of a page around it, since the page itself runs no script but
    its own. None where there is no Chromium.
    """
    browser = next(filter(None, map(shutil.which, NAMES)), None)
    if browser is None:
        return None
    outer = folder / "probe.html"
    outer.write_text(
        f"<!doctype html><iframe id=f src='{page.as_uri()}' width={width} height=900></iframe>"
        f"<script>f.onload = () => {{ const d = f.contentDocument; {script} }}</script>"
    )
    done = subprocess.run(  # noqa: S603 - a browser, and a page of our own
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-extensions",
            "--disable-features=MediaRouter,OptimizationHints,Translate",
            "--disable-sync",
            "--allow-file-access-from-files",
            "--virtual-time-budget=4000",
            f"--user-data-dir={folder / 'profile'}",
            *options,
            "--dump-dom",
            outer.as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=40,
    )
    title = re.search(r"<title>(.*?)</title>", done.stdout.decode(), re.DOTALL)
    assert title, done.stderr.decode()
    return html.unescape(title[1])

"""The contact sheet: what foreign text may do on it, and how it is written."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async import SamplingRequest
from ideogram_async.cli._contact_sheet import NAME, ContactSheet, _entry
from ideogram_async.cli._exit_codes import CommandError
from ideogram_async.testing import picture

HOSTILE = "</figcaption><script>document.title=1</script><img src=x onerror=x()>\"'&\u202e"
FOREIGN = SamplingRequest(
    request_id=f'"><b>{HOSTILE}',
    user_prompt=HOSTILE,
    model_version=HOSTILE,
    seed=7,
    width=640,
    height=480,
)


class _Page(HTMLParser):
    """The tags, attributes and texts of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.texts: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= dict(attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


TAGS = ["figure", "a", "img", "figcaption", "br", "small"]


def test_what_is_shown(tmp_path: Path) -> None:
    """Prompt, seed, size, model and id are there as text, and the image links to its file."""
    page = _Page(_entry(FOREIGN, tmp_path / "ideogram-a b.png"))
    assert page.tags == TAGS
    prompt, facts = page.texts
    assert prompt == HOSTILE.replace("\u202e", "").strip()
    assert facts.startswith("640 by 480 · seed 7 · ")
    assert page.attributes["href"] == page.attributes["src"] == "ideogram-a%20b.png"


@given(st.text(), st.text(), st.text())
def test_no_text_becomes_more_than_text(prompt: str, model: str, request_id: str) -> None:
    """Whatever the gateway tells, the entry is one line of the same six tags."""
    request = SamplingRequest(user_prompt=prompt, model_version=model, request_id=request_id)
    entry = _entry(request, Path("ideogram-x.png"))
    assert _Page(entry).tags == TAGS
    assert entry.isprintable()


def test_the_page_is_ours_alone(tmp_path: Path) -> None:
    """A page of somebody else, or a link, is refused and left as it is."""
    page = tmp_path / NAME
    page.write_text("<h1>mine</h1>")
    with pytest.raises(CommandError, match="left as it is"):
        ContactSheet(tmp_path)
    assert page.read_text() == "<h1>mine</h1>"
    page.unlink()
    sheet = ContactSheet(tmp_path)
    sheet.add(FOREIGN, [tmp_path / "a.png"])
    sheet.finish()
    page.rename(tmp_path / "other")
    page.symlink_to(tmp_path / "other")
    with pytest.raises(CommandError, match="left as it is"):
        ContactSheet(tmp_path)


def test_what_an_earlier_call_has_shown_stays(tmp_path: Path) -> None:
    """Entries of the former page come first, each once, also where their text is hostile."""
    for names in (["a.png", "b.png"], ["b.png", "c.png"]):
        sheet = ContactSheet(tmp_path)
        for name in names:
            sheet.add(FOREIGN, [tmp_path / name])
        sheet.finish()
    page = (tmp_path / NAME).read_text(encoding="utf-8")
    assert [page.count(f'src="{name}"') for name in ("a.png", "b.png", "c.png")] == [1, 1, 1]
    assert _Page(page).tags.count("figure") == 3
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.anyio
async def test_it_is_written_as_results_come_and_not_too_often(tmp_path: Path) -> None:
    """A first entry is shown at once, a thousand more in one go, and nothing where none came."""
    sheet = ContactSheet(tmp_path)
    versions: list[int] = []
    writes = sheet._write

    def write(page: str) -> None:
        versions.append(page.count("<figure"))
        writes(page)

    sheet._write = write  # type: ignore[method-assign]
    keeping = asyncio.create_task(sheet.keep())
    for number in range(1001):
        sheet.add(FOREIGN, [tmp_path / f"{number}.png"])
        await asyncio.sleep(0.1 if not number else 0.0005)
    await asyncio.sleep(60)
    sheet.add(FOREIGN, [tmp_path / "7.png"])
    await asyncio.sleep(60)
    keeping.cancel()
    sheet.finish()
    assert versions == [1, 1001]


@pytest.mark.anyio
async def test_a_page_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """What a full disk has kept off the page is there once there is room, or at the end."""
    directory = tmp_path / "images"
    sheet = ContactSheet(directory)
    keeping = asyncio.create_task(sheet.keep())
    sheet.add(FOREIGN, [directory / "a.png"])
    await asyncio.sleep(1)
    with pytest.raises(OSError, match="No such file"):
        sheet.finish()
    directory.mkdir()
    await asyncio.sleep(60)
    keeping.cancel()
    assert (directory / NAME).exists()


def _browser() -> str:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip("no Chromium is installed here")


def test_in_a_browser(tmp_path: Path) -> None:
    """Chromium shows the image, and runs nothing of a hostile prompt."""
    browser = _browser()
    (tmp_path / "ideogram-x.png").write_bytes(picture("x"))
    sheet = ContactSheet(tmp_path)
    sheet.add(FOREIGN, [tmp_path / "ideogram-x.png"])
    sheet.finish()
    done = subprocess.run(  # noqa: S603 - a browser, and a page of our own
        [
            browser,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=2000",
            "--dump-dom",
            (tmp_path / NAME).as_uri(),
        ],
        check=True,
        capture_output=True,
        timeout=40,
    )
    dom = done.stdout.decode()
    assert "<title>Images</title>" in dom
    assert "<script" not in dom
    assert 'src="ideogram-x.png"' in dom

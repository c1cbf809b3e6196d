"""The contact sheet: what foreign text may do on it, and how it is written."""

from __future__ import annotations

import asyncio
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ideogram_async import SamplingRequest
from ideogram_async.cli._contact_sheet import _ENTRY, NAME, ContactSheet, _entry
from ideogram_async.cli._exit_codes import CommandError
from ideogram_async.testing import picture
from tests.support.browser import probe

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


ALLOWED = {"section", "div", "a", "img", "p", "details", "summary", "small", "span"}


def test_what_is_shown(tmp_path: Path) -> None:
    """Prompt, seed, size, model and id are there as text; the image has a name, and links to it."""
    entry = _entry(FOREIGN, "an id", [tmp_path / "ideogram-a b.png"], "")
    page = _Page(entry)
    assert page.tags == ["section", "div", "a", "img", "p", "small"]
    prompt, facts = page.texts
    assert prompt == page.attributes["alt"] == HOSTILE.replace("\u202e", "").strip()
    assert facts.startswith("640 by 480 · seed 7 · ")
    assert facts.endswith(" · an id")
    assert page.attributes["href"] == page.attributes["src"] == "ideogram-a%20b.png"
    assert page.attributes["dir"] == "auto"


def test_the_images_of_a_request_are_together(tmp_path: Path) -> None:
    """Each says which of them it is; the smaller one is shown where both qualities exist."""
    for name in ("ideogram-a.png", "ideogram-a.balanced.webp", "ideogram-b.png"):
        (tmp_path / name).touch()
    for names in (("ideogram-a.png", "ideogram-b.png"), ("ideogram-a.balanced.webp",)):
        entry = _entry(FOREIGN, "id", [tmp_path / name for name in names], "")
        assert '<a href="ideogram-a.png"><img src="ideogram-a.balanced.webp"' in entry
    several = _entry(FOREIGN, "id", [tmp_path / f"ideogram-{n}.png" for n in "ab"], "")
    assert re.findall(r"\(image \d of \d\)\"", several) == ['(image 1 of 2)"', '(image 2 of 2)"']


def test_joiners_are_kept() -> None:
    """Persian, Hindi and emoji keep what joins or parts their signs; bidi controls are dropped."""
    text = "می\u200cخواهم क्\u200dष 👩\u200d🎨 \u202egnp\u2066"  # noqa: RUF001 - Persian
    entry = _entry(SamplingRequest(user_prompt=text), "id", [Path("x.png")], "")
    assert text.replace("\u202e", "").replace("\u2066", "") in entry


def test_a_long_prompt_is_clamped() -> None:
    """Its start is shown, and the whole of it after a click."""
    prompt = "word " * 500
    entry = _entry(SamplingRequest(user_prompt=prompt), "id", [], "")
    shown, whole = re.findall(r'dir="auto">(?:<span>)?([^<]*)</', entry)
    assert len(shown) == 200
    assert whole == prompt.strip()


@given(st.text(), st.text(), st.text(), st.text())
@example("\n", "\r\n", "\n\u2028", "\x0b\n")
def test_no_text_becomes_more_than_text(prompt: str, model: str, one: str, reason: str) -> None:
    """Whatever the gateway answers, the entry is one line of the same few tags."""
    request = SamplingRequest(user_prompt=prompt, model_version=model, request_id=one)
    sheet = ContactSheet(Path("none"))
    sheet.add(request, one, [Path("ideogram-x.png")], reason)
    (entry,) = sheet._entries.values()
    assert set(_Page(entry).tags) <= ALLOWED
    assert len(entry.splitlines()) == 1
    assert _ENTRY.fullmatch(entry)


def test_the_page_is_ours_alone(tmp_path: Path) -> None:
    """A page of somebody else, or a link, is refused and left as it is."""
    page = tmp_path / NAME
    page.write_text("<h1>mine</h1>")
    with pytest.raises(CommandError, match="left as it is"):
        ContactSheet(tmp_path)
    assert page.read_text() == "<h1>mine</h1>"
    page.unlink()
    sheet = ContactSheet(tmp_path)
    sheet.add(FOREIGN, "id", [tmp_path / "a.png"], "")
    sheet.finish()
    page.rename(tmp_path / "other")
    page.symlink_to(tmp_path / "other")
    with pytest.raises(CommandError, match="left as it is"):
        ContactSheet(tmp_path)


def test_what_an_earlier_call_has_shown_stays(tmp_path: Path) -> None:
    """Entries of the former page are kept, each once, in the order of the ids that are given now.

    The heading counts them, with the date and the gateway; a failure has its reason.
    """
    for ids in (["a", "<b>"], ["c", "<b>"]):
        sheet = ContactSheet(tmp_path, base_url="https://gateway.example/x", order=[*ids, "d"])
        sheet.add(FOREIGN, "d", [], "it failed <so>")
        for name in reversed(ids):
            sheet.add(FOREIGN, name, [tmp_path / f"{name}.png"], "")
        sheet.finish()
    text = (tmp_path / NAME).read_text(encoding="utf-8")
    assert re.findall('<section id="([^"]*)"', text) == ["c", "&lt;b&gt;", "d", "a"]
    assert "<h1>3 images of 4 requests</h1>" in text
    assert re.search(r"<span[^>]*>\d{4}-\d\d-\d\d \d\d:\d\d · gateway\.example</span>", text)
    assert '<p class="reason">it failed &lt;so&gt;</p>' in text
    assert [path.name for path in tmp_path.iterdir()] == [NAME]


@pytest.mark.anyio
async def test_it_is_written_as_results_come_and_not_too_often(tmp_path: Path) -> None:
    """A first entry is shown at once, a thousand more in one go, and nothing where none came."""
    sheet = ContactSheet(tmp_path)
    versions: list[int] = []
    replace = sheet._replace

    def replaced(page: str) -> None:
        versions.append(page.count("<section"))
        replace(page)

    sheet._replace = replaced  # type: ignore[method-assign]
    keeping = asyncio.create_task(sheet.keep())
    for number in range(1001):
        sheet.add(FOREIGN, f"{number}", [tmp_path / f"{number}.png"], "")
        await asyncio.sleep(0.1 if not number else 0.0005)
    await asyncio.sleep(60)
    sheet.add(FOREIGN, "7", [tmp_path / "7.png"], "")
    await asyncio.sleep(60)
    keeping.cancel()
    sheet.finish()
    assert versions == [1, 1001]


@pytest.mark.anyio
async def test_the_last_entry_is_written_at_the_end(tmp_path: Path) -> None:
    """It is, though the keeper was cancelled as it began to write; a late thread undoes nothing."""
    sheet = ContactSheet(tmp_path)
    early = sheet._version()
    keeping = asyncio.create_task(sheet.keep())
    sheet.add(FOREIGN, "a", [tmp_path / "a.png"], "")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    keeping.cancel()
    await asyncio.wait([keeping])
    sheet.finish()
    sheet._write(*early)
    assert "<h1>1 image of 1 request</h1>" in (tmp_path / NAME).read_text(encoding="utf-8")


@pytest.mark.anyio
async def test_a_page_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """What a full disk has kept off the page is there once there is room, or at the end."""
    directory = tmp_path / "images"
    sheet = ContactSheet(directory)
    directory.touch()
    keeping = asyncio.create_task(sheet.keep())
    sheet.add(FOREIGN, "a", [directory / "a.png"], "")
    await asyncio.sleep(1)
    with pytest.raises(OSError, match="File exists"):
        sheet.finish()
    directory.unlink()
    await asyncio.sleep(60)
    keeping.cancel()
    assert (directory / NAME).exists()


PROMPTS = (
    HOSTILE,
    "یک فانوس دریایی در سپیده\u200cدم، نقاشی آبرنگ",
    "מגדלור עם שחר, תחריט עץ",
    "灯台と夜明け、木版画",
    "👩\u200d🎨 paints a lighthouse",
    "",
    "x" * 3000,
    "a lighthouse at dawn, " * 60,
)


PROBE = """
const all = [...d.querySelectorAll("section")], box = d.querySelector("input");
const one = n => all[n].querySelector("[dir=auto]");
const loaded = [...d.images].filter(i => i.complete && i.naturalWidth).length;
box.value = "LightHouse"; box.dispatchEvent(new d.defaultView.Event("input"));
document.title = JSON.stringify({
  title: d.title, sections: all.length, loaded,
  ran: [d.title, document.title].includes("1"), scripts: d.scripts.length,
  width: d.documentElement.clientWidth,
  overflow: d.documentElement.scrollWidth - d.documentElement.clientWidth,
  widths: [...new Set(all.map(s => Math.round(s.getBoundingClientRect().width)))].length,
  directions: [1, 3].map(n => d.defaultView.getComputedStyle(one(n)).direction),
  names: [...d.images].slice(0, 6).map(i => i.alt.slice(0, 12)),
  background: d.defaultView.getComputedStyle(d.body).backgroundColor,
  clamped: one(7).getBoundingClientRect().height,
  left: all.filter(s => !s.hidden).length,
});
"""


def test_in_a_browser(tmp_path: Path) -> None:
    """Chromium shows 200 images at 390 px in the dark, and runs nothing of a hostile prompt.

    Right-to-left prompts run so, long ones are clamped, nothing is wider than the page, and the box
    filters.
    """
    folder = tmp_path / "images"
    folder.mkdir()
    sheet = ContactSheet(folder, base_url="https://gateway.example")
    for number in range(200):
        (folder / f"ideogram-{number}.png").write_bytes(picture(str(number)))
        request = msgspec.structs.replace(FOREIGN, user_prompt=PROMPTS[number % len(PROMPTS)])
        sheet.add(request, f"{number}", [folder / f"ideogram-{number}.png"], "")
    sheet.finish()
    dark = ("--force-dark-mode", "--blink-settings=preferredColorScheme=0")
    written = probe(folder / NAME, tmp_path, PROBE, *dark, width=390)
    if written is None:
        pytest.skip("no Chromium is installed here")
    seen = json.loads(written)
    assert seen["title"] == "200 images of 200 requests"
    assert (seen["sections"], seen["scripts"], seen["ran"]) == (200, 1, False)
    assert seen["loaded"] >= 4
    assert 370 <= seen["width"] <= 390
    assert seen["overflow"] == 0
    assert seen["directions"] == ["rtl", "ltr"]
    assert seen["names"][3:6] == [PROMPTS[3][:12], "👩\u200d🎨 paints", "no prompt"]
    assert seen["clamped"] < 200
    assert seen["left"] == 50  # of 8 prompts, 2 hold the word
    assert seen["background"] == "rgb(22, 22, 21)"

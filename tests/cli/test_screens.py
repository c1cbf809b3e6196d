"""What a person sees: the screen of a terminal, after each frame and at the end."""

from __future__ import annotations

import asyncio
import io
import re
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest

from ideogram_async import FixedInterval, IdeogramClient, SessionStatistics, Statistics
from ideogram_async.cli._gateway_words import trouble_in_words
from ideogram_async.cli._rate_estimate import (
    RateEstimate,
    elapsed_in_words,
    left_in_words,
    rate_in_words,
)
from ideogram_async.cli._request_states import RequestStates
from ideogram_async.cli._results import results_to
from ideogram_async.cli._watch import run_watch
from ideogram_async.testing import Gateway, Progress, SlidingWindow
from tests.support.commands import HOSTILE, Served, Terminal, check_sane

PROMPT = "a lighthouse at dawn"
EVERY = FixedInterval(1.0)
WATCH = ("-m", "ideogram_async", "watch")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Serve a gateway to other processes."""
    served = Served()
    yield served
    served.close()


def lines_of(screen: pyte.Screen) -> list[str]:
    """List the lines that a screen shows, without the empty ones at the end."""
    lines = [line.rstrip() for line in screen.display]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def screen_of(text: str, rows: int = 24, columns: int = 120) -> list[str]:
    """List the lines that a terminal shows in the end."""
    screen = pyte.Screen(columns, rows)
    pyte.Stream(screen).feed(text)
    return lines_of(screen)


def frames(text: str, rows: int = 24, columns: int = 120) -> list[list[str]]:
    """List the screen after each frame, which ends where the next one takes it away."""
    screen, shown, begin = pyte.Screen(columns, rows), [], 0
    stream = pyte.Stream(screen)
    for found in re.finditer(r"\r\x1b\[2K|\r\x1b\[1A", text):
        stream.feed(text[begin : found.start()])
        begin = found.start()
        shown.append(lines_of(screen))
    return shown


def arguments(tmp_path: Path, ids: list[str]) -> list[str]:
    """Make a call of `watch` whose terminal shows nothing but progress."""
    listed = tmp_path / "ids"
    listed.write_text("\n".join(ids))
    return [*WATCH, "--output", str(tmp_path / "results.jsonl"), "--from", str(listed)]


# In this process, in virtual time


class Screen(io.StringIO):
    """What a terminal of a size gets, in place of standard error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, rows: int = 24, columns: int = 80) -> None:
        super().__init__()
        self._size = rows, columns
        for name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in (("LINES", rows), ("COLUMNS", columns), ("TERM", "xterm-256color")):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setattr(sys, "stderr", self)

    def isatty(self) -> bool:
        """Be a terminal."""
        return True

    def frames(self) -> list[list[str]]:
        """List what is shown after each frame, and at the end."""
        text = self.getvalue().replace("\n", "\r\n")  # as a terminal's driver does
        ended = screen_of(text, *self._size)
        return [frame for frame in frames(text, *self._size) if frame] + [ended]


async def watched(
    gateway: Gateway, ids: list[str], directory: Path, *, download: bool = False, **settings: Any
) -> None:
    """Watch ids to their end, with a file of results, as the command does."""
    states = RequestStates()
    images = directory / "images" if download else None
    with results_to(directory / "results.jsonl") as results:
        client = IdeogramClient(gateway.url, hooks=[states], **settings)
        await run_watch(client, ids, results, directory=images, states=states)


@pytest.mark.anyio
@pytest.mark.parametrize(("rows", "columns", "shown"), [(24, 80, 14), (12, 50, 5)], ids=str)
async def test_bars_at_each_size(
    rows: int, columns: int, shown: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A heading, a bar for each open request that finds room, one for all, time and cost.

    They go away in the end: the summary stays.
    """
    screen = Screen(monkeypatch, rows, columns)
    async with Gateway() as gateway:
        ids = [
            gateway.submit(duration=1.5 + n / 4, queue=n % 2, progress="linear") for n in range(14)
        ]
        await watched(gateway, ids, tmp_path)
    *early, last = screen.frames()
    assert all(len(frame) < rows and max(map(len, frame)) <= columns for frame in early)
    heading, *bars = early[0]
    assert heading.split() == ["request", "progress", "state"] + ["prompt"] * (columns > 60)
    assert [line.split()[0][:5] for line in bars[:shown]] == [one[:5] for one in ids[:shown]]
    assert ("and 9 more" in bars) is (shown < 14)
    counts = [next(line for line in frame if " of 14" in line) for frame in early]
    assert counts[0].endswith(" 0 of 14")
    assert any(re.search(r"━ +[3-6]\d % *", line) for frame in early for line in frame)
    assert any(re.match(r"\d s, \d+ running, \d+ queued", line) for line in early[8])
    assert any(re.search(r"^\d+ queries(, \d+ queries per second)?$", line) for line in early[-1])
    (summary,) = last
    assert re.fullmatch(r"14 of 14 complete, \d+ queries, in \d+ s"[:columns], summary)


@pytest.mark.anyio
async def test_many_requests_look_calm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three lines, whatever their number: a bar for all, time, and cost; one line at the end."""
    screen = Screen(monkeypatch)
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=n / 10) for n in range(120)]
        await watched(gateway, ids, tmp_path)
    *shown, (last,) = screen.frames()
    assert {len(frame) for frame in shown} <= {1, 2, 3}
    assert shown[0][0].endswith(" 0 of 120")
    outlook = r"\d+ queued, \d+ requests per second, less than a minute left$"
    assert any(re.search(outlook, frame[1]) for frame in shown[3:])
    assert last.startswith("120 of 120 complete, ")


@pytest.mark.anyio
@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
async def test_without_colour_or_control(
    variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """NO_COLOR leaves colours out, and a terminal that can do nothing gets plain lines."""
    screen = Screen(monkeypatch)
    monkeypatch.setenv(variable, value)
    async with Gateway() as gateway:
        await watched(gateway, [gateway.submit(duration=2)], tmp_path)
    text = screen.getvalue()
    assert not re.search(r"\x1b\[[0-9;]*[3-9][0-9;]*m", text)
    assert ("\x1b" in text) is (variable == "NO_COLOR")
    assert screen.frames()[-1][-1].startswith("1 of 1 complete, ")


@pytest.mark.anyio
async def test_a_bar_never_runs_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An estimate before the start is no progress; what falls stays; 99 % says that it goes on."""
    screen = Screen(monkeypatch)
    told = [Progress(45, has_started=False), Progress(30), Progress(10), Progress(99)]
    async with Gateway() as gateway:
        request_id = gateway.submit(
            duration=12, progress=lambda elapsed, *_: told[min(int(elapsed / 4), 3)]
        )
        waiting = asyncio.create_task(watched(gateway, [request_id], tmp_path, schedule=EVERY))
        await asyncio.sleep(15)
        gateway.submit(request_id=request_id, duration=0)
        await waiting
    states = [
        line[40:].strip() for frame in screen.frames() for line in frame if request_id in line
    ]
    assert list(dict.fromkeys(one.removesuffix(PROMPT).strip() for one in states)) == [
        "not asked yet",
        "queued",
        "30 %",
        "99 %, finishing",
    ]


@pytest.mark.anyio
async def test_what_it_waits_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that cannot be reached, or that throttles, is named with the time of the next try.

    The line when it is back stays.
    """
    screen = Screen(monkeypatch)
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=14) for _ in range(4)]
        waiting = asyncio.create_task(watched(gateway, ids, tmp_path, schedule=EVERY))
        await asyncio.sleep(2)
        async with gateway.down():
            await asyncio.sleep(5)
        await asyncio.sleep(3)
        gateway.limit = SlidingWindow(1, 8, retry_after="seconds", body="relay")
        await asyncio.sleep(4)
        gateway.limit = None
        await waiting
    frames = screen.frames()
    shown = {line for frame in frames for line in frame}
    host = gateway.url.removeprefix("http://")
    for why in (
        f"{host} cannot be reached (connection refused)",
        "throttled (429: too many requests)",
    ):
        assert {f"{why}, next try in {seconds} s" for seconds in (2, 3, 4)} <= shown
    assert frames[-1][0] == f"{host} can be reached again"


@pytest.mark.anyio
async def test_images_have_a_bar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are still loaded are counted on a bar of their own; then the page is named.

    A gateway on this machine whose records name images of its own needs no option for them. An
    earlier call's results are named beside the number that is polled now.
    """
    screen = Screen(monkeypatch, columns=200)
    async with Gateway(image_delay=3) as gateway:
        assets_url = gateway.assets_url
        ids = [gateway.submit(duration=1, images=2, assets_url=assets_url) for _ in range(4)]
        await watched(gateway, ids[:1], tmp_path)
        await watched(gateway, ids, tmp_path, download=True)
    frames = screen.frames()
    lines = {line.strip("━╸╺ ") for frame in frames for line in frame}
    assert "3 of 3 (1 was in the file)" in lines
    assert "0 of 8 images" in lines
    summary, page = frames[-1][-2:]
    assert summary.startswith("3 of 3 complete (1 was in the file), ")
    assert ", 8 images saved, in " in summary
    assert page == f"the images: {tmp_path / 'images' / 'index.html'}"


@pytest.mark.anyio
async def test_lines_on_a_pipe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each change of state is one plain line, at most one in 5 s."""
    async with Gateway() as gateway:
        waiting = asyncio.create_task(watched(gateway, [gateway.submit(duration=55)], tmp_path))
        for seconds in (5, 8, 1, 1, 9):
            await asyncio.sleep(seconds)
            async with gateway.down():
                await asyncio.sleep(seconds)
        await waiting
    lines = capsys.readouterr().err.splitlines()
    host = gateway.url.removeprefix("http://")
    changes = [line for line in lines if line.startswith(host)]
    down = rf"{host} cannot be reached \(connection refused\)(, next try in \d+ s)?"
    assert 4 <= len(changes) <= 6
    assert all(re.fullmatch(down, line) for line in changes[::2])
    assert set(changes[1::2]) == {f"{host} can be reached again"}
    progress = [line for line in lines if re.match(r"0 of 1 complete, \d+ queries, in \d+ s", line)]
    assert len(progress) >= 4
    assert lines[-1].startswith("1 of 1 complete, ")


def test_a_gateway_that_answers_with_errors_is_named() -> None:
    """A gateway that is up and fails, a key that is refused among others, and the only key."""

    def told(*sessions: SessionStatistics) -> str:
        return "".join(trouble_in_words("https://gateway.example/x", Statistics(sessions=sessions)))

    opened = SessionStatistics()
    refused = SessionStatistics(state="refused", reason="401: no\x1b[2J", next_try=60.0)
    broken = SessionStatistics(state="broken", reason="500: oh", next_try=4.6)
    assert told() == told(opened) == ""
    assert told(broken) == "gateway.example answers with errors (500: oh), next try in 5 s"
    assert told(refused, broken).startswith("gateway.example answers")
    assert told(opened, refused) == "key 2 of 2 is refused (401: no [2J)"
    assert told(refused) == "the key is refused (401: no [2J), next try in 60 s"


# In a process of its own, on a terminal


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_the_cursor_shown(
    served: Served, tmp_path: Path, number: signal.Signals
) -> None:
    """A process that is told to end shows the cursor, which bars hide, and ends by the signal."""
    terminal = Terminal(served, *arguments(tmp_path, served.open(1)))
    terminal.read_until(lambda text: "50 %" in text)
    terminal.process.send_signal(number)
    assert terminal.read_all() == -number
    shown = re.findall(r"\x1b\[\?25([hl])", terminal.text)
    assert (shown[0], shown[-1]) == ("l", "h")


def test_a_resize_leaves_no_stale_lines(served: Served, tmp_path: Path) -> None:
    """At each size a frame has what fits; made narrow, it leaves the summary alone at the end."""
    ids, columns = served.open(6), 20
    terminal = Terminal(served, *arguments(tmp_path, ids), rows=24, columns=80)
    terminal.read_until(lambda text: text.count("50 %") >= 6)
    for size in ((24, 80), (40, 120), (12, 50), (24, 120)):
        terminal.resize(*size)
        begin = len(terminal.text)
        terminal.read_until(lambda text, begin=begin: text[begin:].count("0 of 6") > 2)  # type: ignore[misc]
        frame = frames(terminal.text[begin:], *size)[-1]
        assert max(map(len, frame)) < size[1]
        assert sum(bool(re.search(r"━ +50 %", line)) for line in frame) == 6
        assert any(line.endswith(" 0 of 6") for line in frame)
        assert any(re.fullmatch(r"\d+ s, 6 running, 0 queued", line) for line in frame)
    terminal.resize(24, columns)
    narrowed, cut = len(terminal.text), f"{ids[0][:5]}…"
    terminal.read_until(lambda text: text[narrowed:].count(cut) > 2)
    served.end(*ids[:3])
    terminal.read_until(lambda text: "3 of 6" in text)
    served.end(*ids[3:])
    assert terminal.read_all() == 0
    # Resized between two frames: the next is the first with ids cut short.
    resized = terminal.text.rindex("\r\x1b[2K", 0, terminal.text.index(cut, narrowed))
    screen = pyte.Screen(120, 24)
    stream = pyte.Stream(screen)
    stream.feed(terminal.text[begin:resized])
    screen.resize(24, columns)
    stream.feed(terminal.text[resized:])
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert "".join(lines).startswith("6 of 6 complete, ")


def test_the_demo_on_a_terminal() -> None:
    """Both columns, what happened and bars, with sane codes alone, whatever the prompts hold."""
    quick = (
        "from ideogram_async.cli import _naive_loop, _samples;"
        "_naive_loop.SLEEP_SECONDS = 0.3;"
        f"_samples.PROMPTS = [{HOSTILE!r}, '[bold]plain[/bold]'];"
        "_samples.KINDS = [k._replace(shortest=2.5, longest=3.5) for k in _samples.KINDS[-2:]];"
        "from ideogram_async.__main__ import main; main()"
    )
    terminal = Terminal(None, "-c", quick, "demo", "--count", "8", rows=24, columns=80)
    assert terminal.read_all() == 0
    check_sane(terminal.text)
    shown = [line for frame in frames(terminal.text, 24, 80) for line in frame]
    assert any(re.fullmatch(r" +gather, sleep\(2\) +this library", line) for line in shown)
    assert any(re.match(r"\S+ [━╸╺]+ .* \[bold\]plain", line) for line in shown)
    assert any("gnp.exe" in line for line in shown)
    lines = screen_of(terminal.text, 24, 80)
    assert any(re.fullmatch(r"ended +8 of 8 +8 of 8", line) for line in lines)
    assert sum("ideogram-async" in line for line in lines) == 2


def test_a_time_left_is_told_where_it_is_known() -> None:
    """Nothing is told of too few ends; then the rate of the last minute, old ones forgotten."""
    pace = RateEstimate()
    assert pace.look(0, 0) is None
    assert pace.look(2, 100) is None
    assert pace.look(10, 100) == 10
    rates = [pace.look(second, 100 + second - 10) for second in range(11, 200)]
    assert rates[-1] == pytest.approx(1, abs=0.05)
    rates = [pace.look(second, 289) for second in range(200, 300)]
    assert rates[-1] is None


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (5, "less than a minute left"),
        (61, "about 2 minutes left"),
        (3599, "about 60 minutes left"),
        (5000, "about 2 hours left"),
        (200_000, "about 3 days left"),
    ],
)
def test_a_time_left_in_words(seconds: float, told: str) -> None:
    """One unit, rounded up."""
    assert left_in_words(seconds) == told


def test_a_rate_in_words() -> None:
    """Slow ones are per minute."""
    assert rate_in_words(42.4, "query", "queries") == "42 queries per second"
    assert rate_in_words(1.2, "query", "queries") == "1 query per second"
    assert rate_in_words(0.25, "request", "requests") == "15 requests per minute"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.9, "59 s"), (67, "1:07"), (3607, "1:00:07")]
)
def test_elapsed_time_in_words(seconds: float, told: str) -> None:
    """Whole seconds, and as a clock from one minute on."""
    assert elapsed_in_words(seconds) == told

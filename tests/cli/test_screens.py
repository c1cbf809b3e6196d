"""What a person sees: the screen of a terminal, after each frame and at the end."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import pyte
import pytest

from ideogram_async.cli._rate_estimate import (
    RateEstimate,
    elapsed_in_words,
    left_in_words,
    rate_in_words,
)
from tests.support.commands import Served, Terminal

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


def test_eight_requests_have_a_bar_each(served: Served, tmp_path: Path) -> None:
    """Each open request has one line, one bar is for all, and the summary alone is left."""
    ids = served.open(8)
    terminal = Terminal(served, *arguments(tmp_path, ids))
    terminal.read_until(lambda text: text.count("50 %") >= 8)
    for ended, request_id in enumerate(ids, 1):
        served.end(request_id)
        terminal.read_until(lambda text, ended=ended: f"{ended} of 8" in text)  # type: ignore[misc]
    assert terminal.read_all() == 0
    shown = [frame for frame in frames(terminal.text) if frame]
    first = shown[0]
    assert [line.split()[0] for line in first[:8]] == ids
    assert first[8].endswith(" 0 of 8")
    assert len(first) == 10
    assert any(re.search(r"━ 50 %  *a lighthouse at dawn", line) for f in shown for line in f)
    counts = [sum(line.split()[0] in ids for line in frame) for frame in shown]
    assert counts == sorted(counts, reverse=True)
    assert set(range(1, 9)) <= set(counts)
    (last,) = screen_of(terminal.text)
    assert re.fullmatch(r"8 of 8 complete, \d+ queries", last)


def test_a_thousand_requests_look_calm(served: Served, tmp_path: Path) -> None:
    """Two lines, whatever their number: a bar for all, and the figures; one line at the end."""
    ids = [*(served.submit(duration=0) for _ in range(1000)), *served.open(100)]
    terminal = Terminal(served, *arguments(tmp_path, ids))
    terminal.read_until(lambda text: " left" in text)
    served.end(*ids[1000:])
    assert terminal.read_all() == 0
    shown = [frame for frame in frames(terminal.text) if frame]
    assert {len(frame) for frame in shown} <= {1, 2}
    assert shown[0][0].endswith(" 0 of 1,100")
    assert any(re.search(r"queries a request, \d+ a second, .* left$", f[-1]) for f in shown)
    (last,) = screen_of(terminal.text)
    assert last.startswith("1100 of 1100 complete, ")


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


@pytest.mark.parametrize("columns", [20, 200])
def test_a_resize_leaves_no_stale_lines(served: Served, tmp_path: Path, columns: int) -> None:
    """Made narrower or wider in the middle, the terminal shows the summary alone at the end."""
    ids = served.open(6)
    terminal = Terminal(served, *arguments(tmp_path, ids))
    terminal.read_until(lambda text: "50 %" in text)
    terminal.resize(24, columns)
    resized = len(terminal.text)
    terminal.read_until(lambda text: len(text) > 2 * resized)
    served.end(*ids[:3])
    terminal.read_until(lambda text: "3 of 6" in text)
    served.end(*ids[3:])
    assert terminal.read_all() == 0
    if columns < 60:  # resized between two frames: the next is the first with ids cut short
        resized = terminal.text.rindex("\r\x1b[2K", 0, terminal.text.index(f"{ids[0][:5]}…"))
    screen = pyte.Screen(120, 24)
    stream = pyte.Stream(screen)
    stream.feed(terminal.text[:resized])
    screen.resize(24, columns)
    stream.feed(terminal.text[resized:])
    lines = [line.rstrip() for line in screen.display if line.strip()]
    assert "".join(lines).startswith("6 of 6 complete, ")


def test_more_bars_than_lines(served: Served, tmp_path: Path) -> None:
    """On a low terminal the bars that find no room are counted, and nothing scrolls."""
    ids = served.open(20)
    terminal = Terminal(served, *arguments(tmp_path, ids), rows=10, columns=40)
    terminal.read_until(lambda text: "50 %" in text)
    served.end(*ids)
    assert terminal.read_all() == 0
    shown = frames(terminal.text, 10, 40)
    assert any("and 16 more" in line for line in shown[0])
    assert max(map(len, shown)) <= 9
    assert len(screen_of(terminal.text, 10, 40)) == 1


@pytest.mark.parametrize("variable", ["NO_COLOR", "TERM"])
def test_without_colour_or_control(served: Served, tmp_path: Path, variable: str) -> None:
    """NO_COLOR leaves colours out, and a terminal that can do nothing gets plain lines."""
    ids = [served.submit(duration=0)]
    env = {variable: "1" if variable == "NO_COLOR" else "dumb"}
    terminal = Terminal(served, *arguments(tmp_path, ids), env=env)
    assert terminal.read_all() == 0
    assert not re.search(r"\x1b\[[0-9;]*[3-9][0-9;]*m", terminal.text)
    if variable == "TERM":
        assert "\x1b" not in terminal.text


def test_ctrl_c_once_leaves_a_file_to_go_on_from(served: Served, tmp_path: Path) -> None:
    """Ctrl-C takes the bars away, tells what is pending, and exits with 130; then it goes on."""
    ids = [*(served.submit(duration=0) for _ in range(2)), *served.open(1)]
    call = arguments(tmp_path, ids)
    terminal = Terminal(served, *call, "--download", str(tmp_path / "images"), *_images(served))
    terminal.read_until(lambda text: "2 of 3" in text)
    terminal.press(b"\x03")
    assert terminal.read_all() == 130
    (line,) = screen_of(terminal.text, columns=200)
    assert "ideogram-async: interrupted, 1 pending; to go on, call it again with the same" in line
    assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == 2
    served.end(ids[2])
    before = len(served.gateway.queries)
    again = Terminal(served, *call)
    assert again.read_all() == 0
    assert (tmp_path / "results.jsonl").read_bytes().count(b"\n") == 3
    assert {query.request_id for query in served.gateway.queries[before:]} == {ids[2]}


def _images(served: Served) -> list[str]:
    return ["--assets-url", served.gateway.assets_url, "--allow-loopback"]


def test_the_demo_shows_bars_of_requests() -> None:
    """Bars with progress and prompts while they run, then a line for each."""
    quick = (
        "from ideogram_async.cli import _samples;"
        "_samples.KINDS = [k._replace(shortest=2.0, longest=4.0) for k in _samples.KINDS[:2]];"
        "from ideogram_async.__main__ import main; main()"
    )
    terminal = Terminal(None, "-c", quick, "demo", "--count", "6", rows=40)
    assert terminal.read_all() == 0
    shown = frames(terminal.text, 40)
    assert any(sum("━" in line for line in frame) == 7 for frame in shown)
    assert any(re.search(r"━ \d+ % ", line) for frame in shown for line in frame)
    first, *rows, last = screen_of(terminal.text, 40)
    assert first.startswith("6 requests submitted")
    assert len(rows) == 6
    assert all(re.search(r" \d+\.\d s  ", row) for row in rows)
    assert last.startswith("6 completed, ")


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
    assert rate_in_words(42.4, "queries") == "42 queries per second"
    assert rate_in_words(0.25, "requests") == "15 requests per minute"


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0 s"), (59.9, "59 s"), (67, "1:07"), (3607, "1:00:07")]
)
def test_elapsed_time_in_words(seconds: float, told: str) -> None:
    """Whole seconds, and as a clock from one minute on."""
    assert elapsed_in_words(seconds) == told

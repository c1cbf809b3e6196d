"""A new user's path, by the README's own lines: serve, the first script, watch, Ctrl-C, and on.

The set-up and the test command are what `.ci/run` runs; the demo is in `test_screens.py`.
"""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from tests.cli.test_screens import screen_of
from tests.support.commands import ROOT, Terminal, environment_for, until

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIRST_STEPS = README.split("## First steps")[1].split("\n## ")[0]
LINES = [
    line.removeprefix(".venv/bin/")
    for block in re.findall(r"^```sh\n(.*?)^```$", FIRST_STEPS, re.DOTALL | re.MULTILINE)
    for line in block.splitlines()
]

TWICE_AS_FAST = """
from ideogram_async.cli import _samples
from ideogram_async.__main__ import main

_samples.KINDS = [
    kind._replace(shortest=kind.shortest / 2, longest=kind.longest / 2, queue=kind.queue / 2)
    for kind in _samples.KINDS
]
main()
"""


def _line(part: str) -> list[str]:
    """Return the one line of the README that holds a part, as a call of this Python."""
    (line,) = [line for line in LINES if part in line]
    program, *arguments = shlex.split(line.partition(" > ")[0].partition(" < ")[0])
    module = ["-m", "ideogram_async"] if program == "ideogram-async" else []
    return [*module, *arguments]


@contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """Serve as the README has it, but on a free port, and twice as fast; yield the address."""
    _, _, *arguments = _line(" serve > ids.txt")
    arguments = [sys.executable, "-c", TWICE_AS_FAST, *arguments, "--port", "0"]
    with (
        (folder / "ids.txt").open("wb") as ids,
        subprocess.Popen(  # noqa: S603 - our own module
            arguments, cwd=folder, stdout=ids, stderr=subprocess.PIPE, env=environment_for(None)
        ) as server,
    ):
        assert server.stderr is not None
        try:
            yield (
                server.stderr.readline().decode().strip().removeprefix("export IDEOGRAM_BASE_URL=")
            )
        finally:
            server.send_signal(signal.SIGINT)
            assert server.wait(10) == 0


@pytest.mark.timeout(120)  # the requests take up to 5 s, and a new one comes each second
def test_the_first_hour(tmp_path: Path) -> None:
    """Each line works as it stands: no step needs an option that the README has not.

    `watch` is interrupted, says how to go on, and goes on with the same line; at the end each id is
    in the file once, and each image is on the page.
    """
    with _serving(tmp_path) as url:
        until(lambda: (tmp_path / "ids.txt").read_bytes().count(b"\n") >= 24)
        env = {"IDEOGRAM_BASE_URL": url}
        watching = Terminal(None, *_line(" watch "), rows=40, columns=160, env=env, cwd=tmp_path)
        watching.read_until(lambda text: re.search(r" ([5-9]|1\d) of \d\d", text) is not None)
        watching.press(b"\x03")
        assert watching.read_all() == 130
        (line,) = screen_of(watching.text, 40, 160)
        told = "ideogram-async: interrupted, {} pending; to go on, call it again with the same {}"
        assert re.fullmatch(told.format(r"\d\d", "finished.jsonl"), line)
        with _first_script(tmp_path, env) as script:
            again = Terminal(None, *_line(" watch "), rows=40, env=env, cwd=tmp_path)
            assert again.read_all() == 0
            printed, _ = script.communicate(timeout=30)
        assert script.returncode == 0
        assert printed.count(b"/assets/") >= 24
        assert re.search(r"\(\d+ were in the file\)", again.text)
        assert "the images: images/index.html" in again.text
        checked = Terminal(None, *_line(" check "), rows=60, env=env, cwd=tmp_path)
        assert checked.read_all() == 0
        assert checked.text.count("  complete  ") >= 24
    _check_files(tmp_path)


def _first_script(folder: Path, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the README's first script on the ids."""
    source = re.findall(r"^```python\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)[0]
    (folder / "first.py").write_text(source)
    with (folder / "ids.txt").open("rb") as ids:
        return subprocess.Popen(  # noqa: S603 - the README's own script
            [sys.executable, *_line("python first.py")],
            cwd=folder,
            stdin=ids,
            stdout=subprocess.PIPE,
            env=environment_for(None) | env,
        )


def _check_files(folder: Path) -> None:
    lines = (folder / "finished.jsonl").read_bytes().splitlines()
    ids = [msgspec.json.decode(line)["request_id"] for line in lines]
    assert len(ids) == len(set(ids)) >= 24
    images = folder / "images"
    assert len(list(images.glob("*.png"))) == len(ids)
    page = (images / "index.html").read_text(encoding="utf-8")
    assert (
        re.findall('<section id="(.*?)"', page)
        == (folder / "ids.txt").read_text().split()[: len(ids)]
    )
    assert page.count("<img ") == len(ids)

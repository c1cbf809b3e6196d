"""The command line as others meet it: a process, on a terminal, and a gateway in real time."""

from __future__ import annotations

import asyncio
import codecs
import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ideogram_async.testing import Gateway, Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
TOKEN = "made-up-token"
OF_TERMINALS = {"NO_COLOR", "FORCE_COLOR", "LINES", "COLUMNS"}
"""What tells a program of another terminal than its own: xdist, too, sets some of it."""

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f \u202egnp.exe\u2066\u200b\U000e0041"
SANE = re.compile(r"\x1b\[(\?25[hl]|[0-9;]*m|2K|1A)")
"""Escape codes of a bar: the cursor hidden and shown, colours, a line cleared, one line up."""


def check_sane(text: str) -> None:
    """Check that nothing moves the terminal but the bar's own codes, and the cursor is shown."""
    assert text.rfind("\x1b[?25h") >= text.rfind("\x1b[?25l")
    rest = SANE.sub("", text).translate({ord("\r"): None, ord("\n"): None})
    assert rest.isprintable(), ascii(rest)


class Served:
    """A gateway in real time, in a thread with a loop of its own."""

    def __init__(self, **settings: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        settings = {"tokens": [TOKEN], "latency": 0.01, **settings}
        self.gateway = self.call(partial(Gateway, **settings))
        self.wait(self.gateway.start())

    def call(self, function: Callable[[], T]) -> T:
        async def called() -> T:
            return function()

        return self.wait(called())

    def wait(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    def submit(self, **details: Any) -> str:
        return self.call(partial(self.gateway.submit, **details))

    def open(self, count: int) -> list[str]:
        """Submit requests that stay halfway until they are told to end."""
        half = Progress(50)
        submit = partial(self.gateway.submit, progress=lambda *_: half)
        return self.call(lambda: [submit() for _ in range(count)])

    def end(self, *ids: str) -> None:
        """Let requests be complete from now on."""
        submit = partial(self.gateway.submit, duration=0)
        self.call(lambda: [submit(request_id=one) for one in ids])

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold every answer back as long as the block lasts."""
        released, answer = self.call(asyncio.Event), self.gateway._answer

        async def answer_later(*query: Any) -> Any:
            await released.wait()
            return await answer(*query)

        self.call(lambda: vars(self.gateway).update(_answer=answer_later))
        try:
            yield
        finally:
            self.call(lambda: vars(self.gateway).pop("_answer"))
            self.call(released.set)

    def close(self) -> None:
        self.wait(self.gateway.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def environment_for(served: Served | None) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in OF_TERMINALS}
    environment |= {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "TERM": "xterm-256color"}
    if served is not None:
        environment |= {"IDEOGRAM_BASE_URL": served.gateway.url, "IDEOGRAM_TOKEN": TOKEN}
    return environment


def start(
    served: Served | None,
    *arguments: str,
    stdin: int | None = None,
    env: dict[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", "ideogram_async", *arguments],
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=env or environment_for(served),
    )


def run(
    served: Served | None, *arguments: str, env: dict[str, str] | None = None
) -> tuple[int, str, str]:
    process = start(served, *arguments, env=env)
    output, errors = process.communicate(timeout=20)
    return process.returncode, output.decode(), errors.decode()


class Terminal:
    """A process of Python on a terminal of its own; `text` is all that the terminal got."""

    def __init__(
        self,
        served: Served | None,
        *command: str,
        rows: int = 24,
        columns: int = 120,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self._master, slave = pty.openpty()
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.text = ""
        self.resize(rows, columns)
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment_for(served) | (env or {}),
            cwd=cwd,
            preexec_fn=_take_terminal,  # noqa: PLW1509 - the child has one thread
            start_new_session=True,
        )
        os.close(slave)

    def resize(self, rows: int, columns: int) -> None:
        """Make it another size."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, keys: bytes) -> None:
        """Type."""
        os.write(self._master, keys)

    def read_until(self, condition: Callable[[str], bool]) -> None:
        """Read on until what came fulfils a condition."""
        until = time.monotonic() + 20
        while not condition(self.text):
            assert time.monotonic() < until, self.text
            self._read()

    def read_all(self) -> int:
        """Read to the end; give the exit code."""
        with suppress(OSError):  # EIO: the last holder of the other end has gone
            while True:
                self._read()
        os.close(self._master)
        return self.process.wait(10)

    def _read(self) -> None:
        self.text += self._decoder.decode(os.read(self._master, 65536))


def _take_terminal() -> None:
    """Make the new session's terminal the one at its input, so that Ctrl-C reaches it."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def run_in_terminal(served: Served | None, *command: str) -> tuple[int, str]:
    """Run Python in a terminal; give the exit code, and all that the terminal got."""
    terminal = Terminal(served, *command)
    return terminal.read_all(), terminal.text


def until(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)

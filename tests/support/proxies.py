"""Real proxies, each a process of its own, where they are installed."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

_PLACES = "/usr/local/sbin:/usr/sbin:/sbin"


class Proxy:
    """A running proxy: its files are in a directory of its own."""

    def __init__(self, place: Path, command: list[str], port: int) -> None:
        self.place = place
        self.address = f"127.0.0.1:{port}"
        self.url = f"http://{self.address}"
        self._port = port
        self._command = command
        self._process = subprocess.Popen(  # noqa: S603 - the tests' own
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=place
        )

    async def up(self) -> None:
        """Wait until it listens."""
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", self._port)
                except OSError:
                    assert self._process.poll() is None, "it has ended"
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    def log(self, least: int = 0) -> list[str]:
        """Return the lines of its access log, once there are so many: it writes after answering."""
        until = time.monotonic() + 5
        while True:
            lines = (self.place / "access.log").read_text(encoding="ascii").splitlines()
            if len(lines) >= least or time.monotonic() > until:
                return lines
            time.sleep(0.01)

    def run(self, *arguments: str) -> None:
        """Run its program once more, to speak to it."""
        command = [*self._command, *arguments]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)  # noqa: S603 - as above

    def stop(self) -> None:
        """End it; Squid takes 2 s if it may, whatever its settings say."""
        is_squid = Path(self._command[0]).name == "squid"
        (self._process.kill if is_squid else self._process.terminate)()
        self._process.wait(10)


def program_of(name: str) -> str | None:
    """Return the path of a program, if it is installed."""
    return shutil.which(name) or shutil.which(name, path=_PLACES)


@asynccontextmanager
async def running(
    name: str, arguments: str, files: Mapping[str, str], **words: object
) -> AsyncIterator[Proxy]:
    """Run a proxy until the block ends.

    In its arguments and files stand `{place}`, its directory, `{port}`, a free one, and the words.
    """
    program = program_of(name)
    if program is None:
        pytest.skip(f"not run: no {name} here")
    with tempfile.TemporaryDirectory() as directory:
        place = Path(directory)
        await anyio.Path(place).chmod(0o777)  # some give up root
        with socket.create_server(("127.0.0.1", 0)) as free:
            words |= {"place": place, "port": free.getsockname()[1]}
        for file, text in files.items():
            (place / file).write_text(text.format(**words), encoding="ascii")
        command = [program, *arguments.format(**words).split()]
        proxy = Proxy(place, command, int(str(words["port"])))
        try:
            await proxy.up()
            yield proxy
        finally:
            proxy.stop()

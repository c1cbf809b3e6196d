"""The server that clients are measured against, in a process and on a core of its own.

1. Plain HTTP on Linux with a compiler: `server.c`, which is so fast that it limits no client.
2. Over TLS, or without a compiler: this module, an asyncio protocol, on uvloop if installed.

Each prints its port, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import importlib.util
import shutil
import ssl
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from email.utils import formatdate
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks._machine import ROOT, pin, raise_mmap_threshold
from benchmarks.speed.answers import (
    COMPLETE,
    DATE_MARK,
    ID_LENGTH,
    ID_MARK,
    RUNNING,
    Shape,
    response,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SOURCE = Path(__file__).with_name("server.c")


class Server(msgspec.Struct, frozen=True):
    """A running server."""

    base_url: str
    what: str
    """Its language, and how it waits for its sockets."""
    ca_file: str | None
    """The certificate authority that a client must trust; None for plain HTTP."""


@contextmanager
def serving(
    *,
    tls: bool = False,
    core: int | None = None,
    shape: Shape = "usual",
    processes: int = 1,
) -> Iterator[Server]:
    """Run a server on a core within the block; raise ImportError for TLS without trustme.

    With several processes, which the server in C alone has, they accept on one socket.
    """
    with tempfile.TemporaryDirectory() as name:
        files = [_stored(Path(name), kind, shape) for kind in (COMPLETE, RUNNING)]
        with _serving(Path(name), files, processes, tls=tls, core=core) as server:
            yield server


@contextmanager
def _serving(
    directory: Path, files: list[str], processes: int, *, tls: bool, core: int | None
) -> Iterator[Server]:
    ca_file = _certify(directory) if tls else None
    program = None if tls else _compiled()
    if program is not None:
        command = [program, *files, str(processes)]
        what = "C, epoll" if processes == 1 else f"C, epoll, {processes} processes"
    else:
        certificate = [str(directory / "server.pem")] if tls else []
        command = [sys.executable, "-m", "benchmarks.speed.server", *files, *certificate]
        what = f"Python, {_loop_kind()}"
    with subprocess.Popen(  # noqa: S603 - ours
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            if processes == 1:
                pin(core, process.pid)
            port = int(process.stdout.readline())
            scheme = "https" if tls else "http"
            yield Server(f"{scheme}://127.0.0.1:{port}", what, ca_file)
        finally:
            process.stdin.close()
            process.wait(10)


@cache
def _compiled() -> str | None:
    """Compile the C server once per process, and return its path; None where that is impossible."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    directory = tempfile.mkdtemp()
    atexit.register(shutil.rmtree, directory)
    program = str(Path(directory, "server"))
    command = [compiler, "-O2", "-o", program, str(SOURCE)]
    done = subprocess.run(command, check=False, capture_output=True)  # noqa: S603 - ours
    return program if done.returncode == 0 else None


def _stored(directory: Path, kind: str, shape: Shape) -> str:
    file = directory / kind
    file.write_bytes(response(kind, shape))
    return str(file)


def _certify(directory: Path) -> str:
    trustme = importlib.import_module("trustme")
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
        str(directory / "server.pem")
    )
    authority.cert_pem.write_to_path(str(directory / "authority.pem"))
    return str(directory / "authority.pem")


class _Answer:
    """One whole answer, split at its marks."""

    def __init__(self, file: str) -> None:
        whole = Path(file).read_bytes()
        self._before, rest = whole.split(DATE_MARK)
        self._between, self._after = rest.split(ID_MARK)

    def filled(self, date: bytes, request_id: bytes) -> bytes:
        """Return the answer with a date and an id."""
        return b"".join((self._before, date, self._between, request_id, self._after))


class _Connection(asyncio.Protocol):
    """Answers one query after another."""

    def __init__(self, answers: dict[int, _Answer], date: list[bytes]) -> None:
        self._answers, self._date = answers, date
        self._received = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        received = self._received + data if self._received else data
        while (end := received.find(b"\r\n\r\n") + 4) > 3:
            field = received[:end].lower().index(b"content-length:") + 15
            end += int(received[field : received.index(b"\r", field)])
            if len(received) < end:
                break
            name = received.index(b'"request_id"')
            start = received.index(b'"', name + 12) + 1
            request_id = received[start : start + ID_LENGTH]
            answer = self._answers[request_id[0]]
            self._transport.write(answer.filled(self._date[0], request_id))
            received = received[end:]
        self._received = received


async def _serve(files: Sequence[str], certificate: str | None) -> None:
    loop = asyncio.get_running_loop()
    context = None
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
    answers = {ord(kind): _Answer(file) for kind, file in zip("CR", files, strict=True)}
    date = [b""]
    server = await loop.create_server(
        lambda: _Connection(answers, date), "127.0.0.1", 0, ssl=context, backlog=1024
    )
    print(server.sockets[0].getsockname()[1], flush=True)
    closed = asyncio.Event()
    loop.add_reader(sys.stdin, closed.set)
    while not closed.is_set():
        date[0] = formatdate(usegmt=True).encode()
        try:
            await asyncio.wait_for(closed.wait(), 0.5)
        except TimeoutError:
            continue


def _loop_kind() -> str:
    return "asyncio" if importlib.util.find_spec("uvloop") is None else "uvloop"


def main() -> None:
    """Serve; arguments: COMPLETE RUNNING [CERTIFICATE]."""
    raise_mmap_threshold()
    files, rest = sys.argv[1:3], sys.argv[3:]
    kind = _loop_kind()
    factory = importlib.import_module(kind).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(files, rest[0] if rest else None))


if __name__ == "__main__":
    main()

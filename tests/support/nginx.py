"""A real nginx in front of a gateway, where there is one: its limit and its reloads."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio.to_thread
import pytest

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.testing import Gateway
from tests.fault_matrix.scene import Play, Scene
from tests.support.canary import CANARY

_PROGRAM = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
_CONFIGURATION = """
worker_processes 1;
daemon off;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {place}/access.log;
    limit_req_zone $binary_remote_addr zone=all:1m rate={rate}r/s;
    client_body_temp_path {place};
    proxy_temp_path {place};
    fastcgi_temp_path {place};
    uwsgi_temp_path {place};
    scgi_temp_path {place};
    server {{
        listen 127.0.0.1:{port};
        location / {{
            limit_req zone=all burst=5 nodelay;
            proxy_pass {upstream};
        }}
    }}
}}
"""


class _Server:
    """A running nginx."""

    def __init__(self, place: Path, upstream: str, rate: int) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        self._log = place / "access.log"
        told = _CONFIGURATION.format(place=place, port=port, upstream=upstream, rate=rate)
        (place / "nginx.conf").write_text(told, encoding="ascii")
        self._command = [str(_PROGRAM), "-p", str(place), "-c", str(place / "nginx.conf")]
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)  # noqa: S603

    async def up(self) -> None:
        """Wait until it listens."""
        host, port = self.url.removeprefix("http://").split(":")
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection(host, int(port))
                except OSError:
                    await asyncio.sleep(0.01)
                else:
                    writer.close()
                    return

    def reload(self) -> None:
        """Have its workers replaced."""
        subprocess.run(  # noqa: S603
            [*self._command, "-s", "reload"], check=True, stderr=subprocess.DEVNULL
        )

    def statuses(self) -> Counter[str]:
        """Count its answers by status."""
        lines = self._log.read_text(encoding="ascii").splitlines()
        return Counter(line.split('"')[2].split()[0] for line in lines)

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(10)


@contextmanager
def _running(upstream: str, rate: int) -> Iterator[_Server]:
    with tempfile.TemporaryDirectory() as place:
        server = _Server(Path(place), upstream, rate)
        try:
            yield server
        finally:
            server.stop()


@asynccontextmanager
async def _polled(rate: int) -> AsyncIterator[tuple[Gateway, _Server, IdeogramClient]]:
    async with Gateway(latency=0.005, tokens=[CANARY]) as gateway:
        with _running(gateway.url, rate) as server:
            await server.up()
            schedule = FixedInterval(0.1)
            async with IdeogramClient(server.url, token=CANARY, schedule=schedule) as client:
                yield gateway, server, client


async def _limited() -> None:
    async with _polled(200) as (gateway, server, client):
        ids = [gateway.submit(duration=0.2) for _ in range(40)]
        done = [request.request_id async for request in client.as_completed(ids)]
        assert sorted(map(str, done)) == sorted(ids)
        statuses = server.statuses()
        assert statuses["503"] > 0
        assert client.statistics().refused == statuses["503"] <= 0.5 * statuses.total()


async def _reloaded() -> None:
    async with _polled(5000) as (gateway, server, client):
        ids = [gateway.submit(duration=0.6) for _ in range(30)]

        async def storm() -> None:
            for _ in range(5):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.reload)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(storm())
            done = [request.request_id async for request in client.as_completed(ids)]
        assert sorted(map(str, done)) == sorted(ids)


def _in_real_time(main: Callable[[], Coroutine[object, object, None]]) -> Play:
    """Play in another thread, in a loop of its own: virtual time does not wait for a process."""

    async def play(_: Scene) -> None:
        if _PROGRAM is None:
            pytest.skip("no nginx here")
        await anyio.to_thread.run_sync(lambda: asyncio.run(main()))

    return play


limit_req = _in_real_time(_limited)
reload_storm = _in_real_time(_reloaded)

"""A real nginx in front of a gateway, where there is one: its limit and its reloads."""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import anyio.to_thread
import pytest

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async.testing import Gateway
from tests.fault_matrix.scene import Play, Scene
from tests.support.canary import CANARY
from tests.support.proxies import Proxy, program_of, running

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


@asynccontextmanager
async def _polled(
    rate: int, max_rate: float | None = None
) -> AsyncIterator[tuple[Gateway, Proxy, IdeogramClient]]:
    async with Gateway(latency=0.005, tokens=[CANARY]) as gateway:
        arguments, files = "-p {place} -c {place}/nginx.conf", {"nginx.conf": _CONFIGURATION}
        async with (
            running("nginx", arguments, files, upstream=gateway.url, rate=rate) as server,
            IdeogramClient(
                server.url, token=CANARY, schedule=FixedInterval(0.1), max_rate=max_rate
            ) as client,
        ):
            yield gateway, server, client


async def _limited() -> None:
    async with _polled(200) as (gateway, server, client):
        ids = [gateway.submit(duration=0.2) for _ in range(20)]
        done = [request.request_id async for request in client.as_completed(ids)]
        assert sorted(map(str, done)) == sorted(ids)
        statuses = Counter(line.split('"')[2].split()[0] for line in server.log())
        assert statuses["503"] > 0
        assert client.statistics().refused == statuses["503"] <= 0.5 * statuses.total()


async def _reloaded() -> None:
    async with _polled(5000, math.inf) as (gateway, server, client):
        ids = [gateway.submit(duration=0.6) for _ in range(30)]

        async def storm() -> None:
            for _ in range(5):
                await asyncio.sleep(0.1)
                await asyncio.to_thread(server.run, "-s", "reload")

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(storm())
            done = [request.request_id async for request in client.as_completed(ids)]
        assert sorted(map(str, done)) == sorted(ids)


def _in_real_time(main: Callable[[], Coroutine[object, object, None]]) -> Play:
    """Play in another thread, in a loop of its own: virtual time does not wait for a process."""

    async def play(_: Scene) -> None:
        if program_of("nginx") is None:
            pytest.skip("no nginx here")
        await anyio.to_thread.run_sync(lambda: asyncio.run(main()))

    return play


limit_req = _in_real_time(_limited)
reload_storm = _in_real_time(_reloaded)

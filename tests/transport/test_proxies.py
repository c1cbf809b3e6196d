"""Real proxies: nothing is lost in them, and nothing is asked twice but for the replay."""

from __future__ import annotations

import asyncio
import math
import ssl
from collections import Counter
from typing import Any

import pytest
import trustme

from ideogram_async import FixedInterval, IdeogramClient
from ideogram_async._protocol.outcome import Answer
from tests.support.lanes import each_lane
from tests.support.proxies import running
from tests.support.raw_server import RawServer, drain
from tests.support.transports import fault_of, sending
from tests.transport.test_tls import serving

pytestmark = [pytest.mark.anyio, each_lane]

_SQUID = """
http_port 127.0.0.1:{port}
auth_param basic program /bin/sh {place}/check
acl known proxy_auth REQUIRED
http_access allow known
http_access deny all
cache deny all
pid_filename {place}/pid
cache_log {place}/cache.log
access_log stdio:{place}/access.log
coredump_dir {place}
"""
_CHECK = """
while read -r name password rest; do
    if [ "$name $password" = "user pass%20word" ]; then echo OK; else echo ERR; fi
done
"""
_NGINX = """
worker_processes 1;
daemon off;
pid {place}/pid;
error_log {place}/error.log;
events {{ worker_connections 256; }}
http {{
    access_log {place}/access.log;
    client_body_temp_path {place};
    proxy_temp_path {place};
    fastcgi_temp_path {place};
    uwsgi_temp_path {place};
    scgi_temp_path {place};
    keepalive_requests 7;
    keepalive_timeout 200ms;
    gzip on;
    gzip_types application/json;
    gzip_min_length 1;
    server {{
        listen 127.0.0.1:{port};
        location / {{ proxy_pass {upstream}; }}
    }}
}}
"""
_HAPROXY = """
defaults
    mode http
    timeout connect 2s
    timeout client 2s
    timeout server 2s
    retries 2
    option redispatch 1
frontend front
    bind 127.0.0.1:{port}
    default_backend back
backend back
    balance roundrobin
    server dead 127.0.0.1:1
    server live {upstream}
"""


@pytest.fixture
def anyio_backend() -> str:
    """Run in real time: the clock of a loop cannot jump over another process."""
    return "asyncio"


async def asked(url: str, pause: float = 0.0) -> tuple[Counter[str], int]:
    """Have workers ask for ids of their own; return how often each was, and the replays."""
    replays: list[int] = []
    done: Counter[str] = Counter()
    async with sending(url, replays) as transport:

        async def work(worker: int) -> None:
            for number in range(20):
                name = f"id-{worker}-{number}"
                outcome = await transport.query(0, name)
                assert isinstance(outcome, Answer), outcome
                done[str(outcome.record.request_id)] += 1
                await asyncio.sleep(pause if number % 10 == worker else 0)

        async with asyncio.TaskGroup() as tasks:
            for worker in range(8):
                tasks.create_task(work(worker))
    return done, len(replays)


def assert_asked_once(server: RawServer, done: Counter[str], replays: int) -> None:
    """Each id was answered, once, and no query came twice but for a replay."""
    assert len(done) == done.total() == 160
    assert {query.request_id for query in server.queries} == set(done)
    assert len(server.queries) - len(done) <= replays


async def test_nginx_that_ends_connections() -> None:
    """Connections that end after 7 queries, or 0.2 s, under way or idle, cost nothing."""
    arguments, files = "-p {place} -c {place}/nginx.conf", {"nginx.conf": _NGINX}
    async with (
        RawServer() as server,
        running("nginx", arguments, files, upstream=server.url) as nginx,
    ):
        done, replays = await asked(nginx.url, pause=0.199)
        assert_asked_once(server, done, replays)
        assert len(nginx.log(len(server.queries))) == len(server.queries)
        assert replays < 40


async def test_haproxy_with_a_dead_server() -> None:
    """A proxy that finds one of its servers dead, for every second query, hands it on."""
    arguments, files = "-db -f {place}/haproxy.cfg", {"haproxy.cfg": _HAPROXY}
    async with RawServer() as server:
        upstream = server.url.partition("//")[2]
        async with running("haproxy", arguments, files, upstream=upstream) as haproxy:
            done, replays = await asked(haproxy.url)
            assert_asked_once(server, done, replays)


@pytest.mark.parametrize("secure", [True, False])
async def test_squid_that_wants_a_password(lane: str, *, secure: bool) -> None:
    """Over TLS by CONNECT, else by the address on the first line; a wrong password is told."""
    authority, trust = trustme.CA(), ssl.create_default_context()
    authority.configure_trust(trust)
    arguments, files = "-N -f {place}/squid.conf", {"squid.conf": _SQUID, "check": _CHECK}
    async with (
        RawServer(ssl=serving(authority) if secure else None) as server,
        running("squid", arguments, files) as squid,
    ):
        settings: dict[str, Any] = {"ssl": trust, "token": "key-1"}
        settings |= {"schedule": FixedInterval(0.1), "max_rate": math.inf}  # no gentle start
        proxy = f"http://user:pass%20word@{squid.address}"
        ids = [f"id-{number}" for number in range(20)]
        end = asyncio.get_running_loop().time() + 0.2
        server.ends.update(dict.fromkeys(ids, end))
        async with IdeogramClient(server.url, proxy=proxy, **settings) as client:
            await drain(client, ids)
            figures = client.statistics()
            assert (figures.lane, figures.queries) == (lane, len(server.queries))
        fault = await fault_of(server.url, proxy=squid.url, ssl=trust)
        assert str(fault.error).endswith("it refused: 407 Proxy Authentication Required")
        assert "the proxy" in str(fault.error)
        log = "\n".join(squid.log())
        assert ("CONNECT 127.0.0.1" in log) is secure
        assert all(not query.headers("Proxy-Authorization") for query in server.queries)

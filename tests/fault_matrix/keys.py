"""Keys that are refused, and what is ambient: scenes of the fault matrix."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from ideogram_async import AuthenticationError, Credential, FixedInterval, IdeogramClient
from tests.fault_matrix.scene import LATENCY, Play, Scene
from tests.fault_matrix.scripts import error_of
from tests.support.canary import CANARY
from tests.support.raw_server import Query, RawServer, Step, record, reply

TWO = [Credential(token=f"{CANARY}-good"), Credential(access_token=f"{CANARY}-bad")]
_OUT = {
    "401": error_of("401 X", "bad key"),
    "403": error_of("403 X", "no"),
    "quota": error_of("429 X", "quota", "insufficient_user_quota"),
}


def _is_bad(query: Query) -> bool:
    return bool(query.headers("Access-Token"))


def one_refused(kind: str) -> Play:
    """One key of two is refused for three minutes, and then taken again."""

    async def play(scene: Scene) -> None:
        def choose(query: Query) -> Iterable[Step]:
            if _is_bad(query) and query.at < 200:
                return [LATENCY, _OUT[kind]]
            return [LATENCY, scene.server.answer(query.request_id)]

        scene.server.default = choose
        ids = [f"id-{number}" for number in range(4)]
        scene.server.ends.update(dict.fromkeys(ids, 285.0))
        outcome = await scene.run(*ids)
        assert outcome.done.keys() == set(ids)
        tried = [query.at for query in scene.server.queries if _is_bad(query)]
        early = [at for at in tried if 1 < at < 200]
        assert len(early) == 3
        assert all(59 <= later - sooner <= 67 for sooner, later in pairwise(early))
        assert len([at for at in tried if at > 265]) >= 5  # in use again

    return play


async def all_refused(scene: Scene) -> None:
    """Both keys are refused: the run ends promptly; the next one asks whether that is still so."""
    scene.server.default = lambda _: [LATENCY, _OUT["401"]]
    ids = [f"id-{number}" for number in range(50)]
    outcome = await scene.run(*ids)
    assert isinstance(outcome.error, AuthenticationError)
    assert set(outcome.error.pending) == set(ids)
    assert anyio.current_time() < 5
    assert len(scene.server.queries) <= 20
    await scene.raised(scene.client.wait("sick"))
    assert 1 <= len(scene.asked("sick")) <= 2
    scene.server.default = lambda query: [LATENCY, scene.server.answer(query.request_id)]
    assert (await scene.client.wait("sick")).is_complete
    assert anyio.current_time() < 6  # not after the minute that a refused key rests


async def nothing_ambient(scene: Scene) -> None:
    """A netrc, proxies of the environment, and a cookie that the gateway sets."""
    with tempfile.TemporaryDirectory() as place, pytest.MonkeyPatch.context() as patch:
        netrc = Path(place) / "netrc"
        netrc.write_text("machine 127.0.0.1 login user password of-netrc\n", encoding="ascii")
        netrc.chmod(0o600)
        patch.setenv("NETRC", str(netrc))
        for name in ("NO_PROXY", "no_proxy", "IDEOGRAM_TOKEN", "IDEOGRAM_ACCESS_TOKEN"):
            patch.delenv(name, raising=False)
        async with RawServer() as proxy:
            for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
                patch.setenv(name, proxy.url)
            await _ask_without_a_key(scene)
            assert proxy.connections == []
    assert not any(query.headers("Authorization") for query in scene.server.queries)
    assert not any(query.headers("Cookie") for query in scene.server.queries)


async def _ask_without_a_key(scene: Scene) -> None:
    cookie = reply(record("well", 50), "200 OK", "Set-Cookie: session=1; Path=/")
    scene.script("well", [cookie], [cookie])
    by_name = scene.server.url.replace("127.0.0.1", "localhost")  # aiohttp keeps none of an IP
    async with IdeogramClient(by_name, schedule=FixedInterval(1.0)) as client:
        await client.wait("well")
    assert len(scene.asked("well")) > 3

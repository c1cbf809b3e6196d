"""The parts of the call on Ray that need no cluster: shares, samples, settings, reports."""

from __future__ import annotations

import asyncio
import pickle
import ssl
import subprocess
import sys
import traceback
from collections import deque
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ideogram_async import (
    AdaptiveSchedule,
    APIError,
    Credential,
    FixedInterval,
    IdeogramClient,
    Observation,
    RequestFailed,
    SamplingRequest,
    Statistics,
)
from ideogram_async.testing import Gateway

pytest.importorskip("ray", reason="Ray is not installed")

from ideogram_async.ray import _cluster, ray_as_completed
from ideogram_async.ray._budget import divide
from ideogram_async.ray._completion_samples import copied, learn, recorded
from ideogram_async.ray._link import ShardLink
from ideogram_async.ray._shard_config import ClusterConfig, ShardConfig
from ideogram_async.ray._shard_report import ShardReport, packed_errors, packed_records

pytestmark = pytest.mark.anyio

URL = "http://127.0.0.1:1"
KEY = "canary-0815"


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 500), st.floats(0.1, 1e4))
def test_shares_add_up(shards: int, keys: int, spare: int, rate: float) -> None:
    """All keys are used, each shard may send, and the limits are divided without a rest."""
    shares = divide(shards, keys, shards + spare, rate)
    assert len(shares) == shards
    assert {key for share in shares for key in share.keys} == set(range(keys))
    assert sum(share.max_in_flight for share in shares) == shards + spare
    assert min(share.max_in_flight for share in shares) >= 1
    assert sum(share.max_rate or 0 for share in shares) == pytest.approx(rate)


def test_keys_are_spread_before_they_are_divided() -> None:
    """A shard has keys of its own where there are enough, and else a part of one key's limits."""
    assert [share.keys for share in divide(2, 3, 12, None)] == [(0, 2), (1,)]
    assert [share.max_in_flight for share in divide(2, 3, 12, None)] == [8, 4]
    of_one_key = divide(3, 2, 12, 8.0)
    assert [share.keys for share in of_one_key] == [(0,), (1,), (0,)]
    assert [share.max_in_flight for share in of_one_key] == [3, 6, 3]
    assert [share.max_rate for share in of_one_key] == [2.0, 4.0, 2.0]
    assert [share.max_rate for share in divide(2, 1, 2, inf)] == [inf, inf]


def _taught(schedule: Any, start: float, kind: str, duration: float) -> None:
    """Let a schedule see a fresh request through, on a clock that shows `start`."""
    state, _ = schedule.start(start, just_submitted=True)
    for share, percentage in ((0.4, 40), (1.0, 100)):
        asked = start + share * duration
        record = SamplingRequest(completion_percentage=percentage, model_version=kind)
        seen = Observation(asked, asked + 0.1, 0.0, record, None)
        if percentage < 100:
            schedule.next_delay(state, seen)
        else:
            schedule.completed(state, seen)


def test_samples_teach_what_was_seen() -> None:
    """A schedule that gets another one's samples knows what it would have seen itself."""
    one, shared, other = AdaptiveSchedule(), AdaptiveSchedule(), AdaptiveSchedule()
    kept = recorded(shared)
    for n in range(20):
        _taught(one, 100.0 * n, f"V_{n % 2}", 5 + n)
        _taught(shared, 7e5 + 100.0 * n, f"V_{n % 2}", 5 + n)  # another machine's clock
    samples = pickle.loads(pickle.dumps(list(kept)))  # noqa: S301 - as Ray does
    learn(other, samples)
    told, seen = other.save(), one.save()
    assert [kind.model_version for kind in told.kinds] == ["V_0", "V_1"]
    assert [band.n for band in told.bands] == [band.n for band in seen.bands]
    assert [band.mean for band in told.bands] == pytest.approx([b.mean for b in seen.bands])
    assert shared.save() == seen
    assert recorded(FixedInterval()) == deque()


def test_a_shard_starts_with_what_is_known() -> None:
    """It gets a schedule with all that was learned by then; one of another kind goes as it is."""
    schedule = AdaptiveSchedule(0.2)
    _taught(schedule, 0.0, "V_0", 9)
    twin = copied(schedule)
    assert isinstance(twin, AdaptiveSchedule)
    assert (twin.price, twin.save()) == (0.2, schedule.save())
    fixed = FixedInterval(3)
    assert copied(fixed) is fixed


async def test_a_config_makes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shard's keys are those of the caller's environment, or none; not the worker's."""
    for variable, expected in ((KEY, KEY), ("", None)):
        monkeypatch.setenv("IDEOGRAM_TOKEN", variable)
        async with Gateway() as gateway:
            monkeypatch.setenv("IDEOGRAM_BASE_URL", gateway.url)
            config = ClusterConfig(None, {"headers": {"X": "y"}})
            (share,) = divide(1, 1, 20, None)
            monkeypatch.setenv("IDEOGRAM_TOKEN", "the worker's")
            monkeypatch.delenv("IDEOGRAM_BASE_URL")
            sent = pickle.dumps(config.for_share(share))
            received: ShardConfig = pickle.loads(sent)  # noqa: S301 - as Ray does
            async with received.client(FixedInterval(), ShardLink(lambda: None)) as client:
                await client.wait(gateway.submit(duration=1))
            assert gateway.queries[0].token == expected


async def test_what_is_refused_at_once() -> None:
    """Bad settings are told by the call, before anything is started, and show no key."""
    bad: list[tuple[type[Exception], dict[str, Any]]] = [
        (ValueError, {"max_in_flight": 1}),
        (ValueError, {"shards": 0}),
        (ValueError, {"timeout": 0}),
        (ValueError, {"deadline": -1}),
        (ValueError, {"headers": {"Authorization": "x"}}),
        (TypeError, {"shards": 1.5}),
        (TypeError, {"ssl": ssl.create_default_context()}),
        (TypeError, {"credentials": [Credential(token="other")]}),
        (TypeError, {"ids": "one"}),
        (TypeError, {"ids": ["one", 5]}),
        (TypeError, {"ids": ["one", []]}),
        (ValueError, {"ids": [""]}),
    ]
    for kind, settings in bad:
        arguments: dict[str, Any] = {"ids": [], "base_url": URL, "token": KEY, **settings}
        with pytest.raises(kind) as caught:
            ray_as_completed(**arguments)
        told = traceback.TracebackException.from_exception(caught.value, capture_locals=True)
        frames = [frame for frame in told.stack if "/ideogram_async/" in frame.filename]
        assert frames
        assert not [frame for frame in frames if KEY in repr(frame.locals)]


@pytest.mark.parametrize("odd", [1, 2**70, "\ud800"], ids=["plain", "a large number", "no text"])
def test_records_travel_as_they_are(odd: Any) -> None:
    """What a shard reports is what its client yielded, whatever the gateway put into it."""
    record = SamplingRequest(request_id="a", completion_percentage=100, user_hparams={"x": odd})
    failed = RequestFailed("no", request_id="b")
    failed.__cause__ = APIError("before")
    results: list[Any] = [record, failed]
    sent = ShardReport(
        packed_records(results), packed_errors(results), Statistics(), None, [], None
    )
    received, error = pickle.loads(pickle.dumps(sent)).results()  # noqa: S301 - as Ray does
    assert received == record
    assert (type(error), error.request_id) == (RequestFailed, "b")
    assert isinstance(error.__cause__, APIError)


async def test_left_before_anything_was_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is left at once connects to no cluster, and waits for nothing."""
    connected: list[object] = []
    monkeypatch.setattr(_cluster, "connect", connected.append)

    async def source() -> AsyncIterator[str]:
        yield "a"

    async with ray_as_completed(source(), URL) as run:
        pass
    assert (run.pending, [*run.rest], connected) == ((), [], [])
    async with ray_as_completed((f"id {n}" for n in range(10**4)), URL) as run:
        taken = len(run.pending)
    assert 0 < taken < 10**4
    assert len({*run.pending, *run.rest}) == 10**4
    assert connected == []
    assert [one async for one in ray_as_completed([], URL)] == []
    assert asyncio.get_running_loop().time() < 1


def test_without_ray() -> None:
    """Where it is not installed, the import says what to install."""
    script = "import sys; sys.modules['ray'] = None; import ideogram_async.ray"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)  # noqa: S603, PLW1510
    assert "pip install 'ideogram-async[ray]'" in done.stderr
    assert IdeogramClient.__name__ not in done.stderr

"""The seam: any limiter may decide when a session sends, and wakes the client when it may."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from ideogram_async import Credential, IdeogramClient
from ideogram_async._limiter import LimitSource
from ideogram_async.testing import Gateway

pytestmark = pytest.mark.anyio


class Refilled:
    """A limiter that has no permits until it is given some, as one that others share."""

    rate = 1000.0
    source: LimitSource = "found"
    held_until = -math.inf
    is_probing = False

    def __init__(self) -> None:
        self.permits = 0
        self._changed: Callable[[], None] = lambda: None

    def opens_at(self, now: float) -> float:
        """Return that it is open while there are permits."""
        return now if self.permits else math.inf

    def sent(self, now: float, *, paced: bool = True) -> None:  # noqa: ARG002 - the protocol's
        """Use a permit."""
        self.permits -= 1

    def wait(self, pending: float) -> None:
        """Do nothing."""

    def accepted(self, asked: float, now: float) -> None:
        """Do nothing."""

    def hold(self, until: float, now: float) -> None:
        """Do nothing."""

    def refused(self, asked: float, retry_after: float | None, now: float) -> bool:  # noqa: ARG002
        """Hold nothing."""
        return False

    def subscribe(self, changed: Callable[[], None]) -> None:
        """Keep the function to call on a change."""
        self._changed = changed

    def refill(self, permits: int) -> None:
        """Add permits, as a background task does."""
        self.permits += permits
        self._changed()


async def test_permits_that_arrive_wake_the_client() -> None:
    """Without permits nothing goes out; as many queries as there are permits go at once then."""
    limiter = Refilled()
    async with (
        Gateway(latency=0.0) as gateway,
        IdeogramClient(gateway.url, limiter=limiter) as client,
    ):
        ids = [gateway.submit(duration=0) for _ in range(5)]
        calls = [asyncio.ensure_future(client.retrieve(one)) for one in ids]
        await asyncio.sleep(20)
        assert not gateway.queries
        begun = asyncio.get_running_loop().time()
        limiter.refill(3)
        await asyncio.sleep(1)
        assert [query.at - begun < 0.1 for query in gateway.queries] == [True] * 3
        limiter.refill(2)
        for call in calls:
            assert (await call).is_complete


class Filling(Refilled):
    """A limiter whose task gets it a permit a second, and fails once."""

    def __init__(self) -> None:
        super().__init__()
        self.budgets: list[str] = []
        self.has_ended = False

    async def run(self, budget: str) -> None:
        """Fail at first; then add permits until cancelled."""
        self.budgets.append(budget)
        if len(self.budgets) == 1:
            raise OSError("no permits today")
        try:
            while True:
                await asyncio.sleep(1)
                self.refill(1)
        finally:
            self.has_ended = True


async def test_a_limiters_task_lives_as_long_as_the_client(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The task is started with the client, once more after it has failed, and ended at its end."""
    limiter = Filling()
    async with (
        Gateway(latency=0.0, tokens=["key-1", "key-2"]) as gateway,
        IdeogramClient(
            gateway.url,
            credentials=[Credential(token="key-1"), Credential(token="key-2")],
            limiter=limiter,
        ) as client,
    ):
        ids = [gateway.submit(duration=0) for _ in range(4)]
        assert len([one async for one in client.retrieve_many(ids)]) == 4
        assert {query.key for query in gateway.queries} == {"key-1", "key-2"}
        assert [round(query.at - gateway.queries[0].at) for query in gateway.queries] == [
            0,
            1,
            2,
            3,
        ]
        assert not limiter.has_ended
    assert limiter.has_ended
    assert "no permits today" in caplog.text


class Failing(Refilled):
    """A limiter whose task fails as it is cancelled."""

    async def run(self, _: str) -> None:
        """Wait, and hide the cancellation by an error."""
        try:
            await asyncio.sleep(math.inf)
        except asyncio.CancelledError:
            raise OSError("no permits any more") from None


async def test_a_limiters_task_that_fails_at_the_end() -> None:
    """It delays the end of the client by nothing."""
    async with Gateway() as gateway:
        async with IdeogramClient(gateway.url, limiter=Failing()):
            await asyncio.sleep(1)
            begun = asyncio.get_running_loop().time()
        assert asyncio.get_running_loop().time() - begun < 0.1


def test_a_budget_has_a_name_that_shows_no_key() -> None:
    """Clients with the same keys, in any order, name the same budget; others name another one."""
    one, two = Credential(token="key-1"), Credential(access_token="key-2")
    names = [
        IdeogramClient("https://gateway.example", credentials=keys)._settings.budget
        for keys in ([one, two], [two, one], [one], [two])
    ]
    assert names[0] == names[1]
    assert len(set(names)) == 3
    assert not any("key" in name for name in names)

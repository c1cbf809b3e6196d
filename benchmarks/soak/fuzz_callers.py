"""The callers of the fuzzer: each begins a call, ends it in some way, and accounts for its ids."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

from benchmarks.soak.accounts import Account, is_bad
from ideogram_async import (
    IdeogramClient,
    IdeogramError,
    PollingFailed,
    Run,
    SamplingRequest,
)

Begun = tuple[Run[Any], Account]

LATEST_START_SECONDS = 15.0
LATEST_END_SECONDS = 40.0
"""After so long a caller leaves or cancels its call at the latest, where it does."""
LONGEST_WAIT_SECONDS = 1000.0
"""The timeout of a call for one id that is to end by itself."""
AT_THE_CALL = 500
"""Ids of an iterable that the call itself checks."""
CROWD = 3_000
"""Ids of a run whose intake goes on after the call."""
BAD: tuple[Callable[[], object], ...] = (
    lambda: 5,
    lambda: None,
    lambda: b"id",
    list,
    lambda: {"an": "id"},
    lambda: "",
    lambda: "\ud800",
)
"""What is no id; some of it cannot be hashed."""


class Label(str):
    """A subclass of `str`, as markup libraries have."""

    __slots__ = ()


class SourceError(Exception):
    """What a source of ids raises."""


class Callers:
    """Callers of one client, over ids that they share."""

    def __init__(self, rng: random.Random, client: IdeogramClient, ids: list[str]) -> None:
        self.problems: list[str] = []
        self.handed_in = 0
        self._rng = rng
        self._client = client
        self._ids = ids
        self._ways = [
            self._to_the_end,
            self._to_the_end,
            self._left,
            self._cancelled,
            self._shared_out,
            self._dropped,
            self._single,
            self._single,
            self._single_cancelled,
        ]

    async def call(self) -> None:
        """Make one call, sooner or later."""
        way = self._rng.choice(self._ways)
        await asyncio.sleep(self._rng.uniform(0.0, LATEST_START_SECONDS))
        await way()

    # Runs

    async def _to_the_end(self) -> None:
        begun = self._begin()
        if begun is None:
            return
        run, account = begun
        async with run:
            early = await self._consume(run, account)
        self._check(run, account, early=early)

    async def _left(self) -> None:
        begun = self._begin()
        if begun is None:
            return
        run, account = begun
        async with run:
            await self._consume(run, account, most=self._rng.randrange(10))
        self._check(run, account, early=True)

    async def _cancelled(self) -> None:
        begun = self._begin()
        if begun is None:
            return
        run, account = begun
        consumer = asyncio.ensure_future(self._consume(run, account))
        await self._cancel(consumer)
        await run.aclose()
        self._check(run, account, early=True)

    async def _shared_out(self) -> None:
        """Let some tasks take the results of one run between them; one of them is cancelled."""
        begun = self._begin()
        if begun is None:
            return
        run, account = begun
        async with run:

            async def draw() -> bool:
                return await self._consume(iter_of(run), account)

            tasks = [asyncio.ensure_future(draw()) for _ in range(3)]
            await self._cancel(tasks[0])
            early = any(await asyncio.gather(*tasks[1:]))
        self._check(run, account, early=early)

    async def _dropped(self) -> None:
        """Leave the loop over a run that has no name, or wait for its first result alone."""
        way = self._rng.randrange(3)
        try:
            if way == 0:
                async for _ in self._client.as_completed(self._good()):
                    break
            elif way == 1:
                await asyncio.wait_for(anext(self._client.watch(self._good())), self._moment())
            else:
                first = self._client.as_completed(self._good(), return_exceptions=True).__anext__()
                await self._cancel(asyncio.ensure_future(first))
        except (IdeogramError, StopAsyncIteration, TimeoutError):
            pass

    def _begin(self) -> Begun | None:
        """Begin a run; return None where the call has raised, as it should."""
        name = self._rng.choice(["as_completed", "as_completed", "watch", "retrieve_many"])
        settings: dict[str, Any] = {
            "return_exceptions": self._rng.random() < 0.5,
            "timeout": self._rng.choice([None, None, None, self._moment()]),
        }
        if name != "retrieve_many":
            settings["max_pending"] = self._rng.randrange(1, 20)
            settings["just_submitted"] = self._rng.random() < 0.5
        is_source = self._rng.random() < 0.5
        given = self._some()
        if len(given) > CROWD:
            settings["timeout"] = self._rng.uniform(0.001, 0.5)  # they would cost too many queries
        pulled: list[object] = [] if is_source else given
        account = Account(pulled, is_source=is_source, is_one_shot=name == "retrieve_many")
        ids = self._source(given, pulled) if is_source else iter(given)
        self.handed_in += len(given)
        is_refused = not is_source and any(map(is_bad, given[:AT_THE_CALL]))
        try:
            run = getattr(self._client, name)(ids, **settings)
        except IdeogramError:  # the client is closed, or a hold outlasts a one-shot call
            return None
        except (TypeError, ValueError) as error:
            if not is_refused:
                self.problems.append(f"the call raised {error!r}")
            return None
        if is_refused:
            self.problems.append("the call took what is no id")
        return run, account

    async def _consume(self, run: Any, account: Account, most: int = -1) -> bool:
        """Take results, all or at most so many; return whether the run has ended early."""
        try:
            async for result in run:
                account.take(result)
                if account.taken == most:
                    return True
                if self._rng.random() < 0.1:
                    await asyncio.sleep(self._rng.uniform(0.0, 3.0))  # a slow caller
        except (PollingFailed, SourceError):
            return False
        except IdeogramError:
            return True
        return False

    def _check(self, run: Run[Any], account: Account, *, early: bool) -> None:
        self.problems += account.problems(run, early=early)

    async def _source(self, given: list[object], pulled: list[object]) -> AsyncIterator[Any]:
        fails = self._rng.random() < 0.2
        for one in given:
            if self._rng.random() < 0.3:
                await asyncio.sleep(self._rng.uniform(0.0, 1.0))
            pulled.append(one)
            yield one
        if fails:
            raise SourceError

    # Calls for one id

    async def _single(self) -> None:
        request_id = self._rng.choice(self._ids)
        self.handed_in += 1
        try:
            request = await self._ask(request_id)
        except IdeogramError as error:
            if error.request_id not in {request_id, None}:
                self.problems.append(f"{request_id} has the error of {error.request_id}")
        else:
            if request.request_id != request_id:
                self.problems.append(f"{request_id} has the record of {request.request_id}")

    async def _single_cancelled(self) -> None:
        await self._cancel(asyncio.ensure_future(self._ask(self._rng.choice(self._ids))))

    async def _ask(self, request_id: str) -> SamplingRequest:
        """Make a call for an id, which must end by its timeout."""
        timeout = self._rng.choice([LONGEST_WAIT_SECONDS, self._moment()])
        time = asyncio.get_running_loop().time
        began = time()
        try:
            if self._rng.random() < 0.3:
                return await self._client.retrieve(request_id, timeout=timeout)
            deadline = self._rng.choice([5.0, 60.0])
            return await self._client.wait(request_id, timeout=timeout, deadline=deadline)
        finally:
            if time() > began + timeout + 1e-6:
                self.problems.append(f"a call has taken {time() - began} s, and its timeout passed")

    # What is drawn

    def _good(self) -> list[str]:
        return self._rng.choices(self._ids, k=self._rng.randrange(1, 12))

    def _some(self) -> list[object]:
        """Draw ids, repeated ones among them, some as a subclass of `str`, and what is no id."""
        given: list[object] = [
            Label(one) if self._rng.random() < 0.1 else one for one in self._good()
        ]
        if self._rng.random() < 0.1:
            given += [f"crowd-{number}" for number in range(CROWD)]
        for _ in range(self._rng.choice([0, 0, 0, 1, 3])):
            given.insert(self._rng.randrange(len(given) + 1), self._rng.choice(BAD)())
        return given

    def _moment(self) -> float:
        return self._rng.choice([0.0, self._rng.uniform(0.0, LATEST_END_SECONDS)]) + 0.001

    async def _cancel(self, task: asyncio.Future[Any]) -> None:
        """Cancel a task some time later, or some turns of the loop later; wait for its end."""
        if self._rng.random() < 0.5:
            await asyncio.sleep(self._moment())
        else:
            for _ in range(self._rng.randrange(4)):
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, IdeogramError):
            self.problems.append(f"a cancelled call raised {error!r}")


async def iter_of(run: Run[Any]) -> AsyncIterator[Any]:
    """Draw from a run that other tasks draw from, too."""
    while True:
        try:
            result = await anext(run)
        except StopAsyncIteration:
            return
        yield result

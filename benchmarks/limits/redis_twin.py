"""Redis without a server: the same script, run by Lua in this process, on the loop's virtual clock.

It takes the place of a limiter's connection (`installed`). A report takes a round trip; what is
published takes half of one.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import msgspec
from lupa import lua51

from ideogram_async._fleet import member
from ideogram_async._fleet.messages import Announcement, Reply, Report
from ideogram_async.redis import _limiter
from ideogram_async.redis._link import ANSWER_SECONDS
from ideogram_async.redis._script import SCRIPT

EPOCH = 1.7e9
"""Unix time at the start of each run, on the server's clock."""
ROUND_TRIP_SECONDS = 0.002


class Twin:
    """The server."""

    def __init__(self) -> None:
        self._lua: Any = lua51.LuaRuntime(unpack_returned_tuples=False)
        self._stored: dict[str, str] = {}
        self._under_way: deque[tuple[str, Announcement]] = deque()
        self._listeners: dict[str, list[Callable[[Announcement, float], None]]] = {}
        make = self._lua.eval("""
            function(call, encode, decode)
              return function(script, key, argument)
                redis, cjson = {call = call}, {encode = encode, decode = decode}
                KEYS, ARGV = {key}, {argument}
                return assert(loadstring(script))()
              end
            end""")
        self._run = make(self._call, self._encode, self._decode)
        self.reports = 0
        self.is_away = False

    def report(self, key: str, report: Report) -> str:
        """Run the script."""
        self.reports += 1
        text: str = self._run(SCRIPT, key, msgspec.json.encode(report).decode())
        return text

    def listen(self, key: str, hear: Callable[[Announcement, float], None]) -> None:
        """Pass on what is published from now on."""
        self._listeners.setdefault(key, []).append(hear)

    def _call(self, command: str, *arguments: Any) -> Any:
        now = asyncio.get_running_loop().time() + EPOCH
        if command == "TIME":
            return self._lua.table(math.floor(now), math.floor(now % 1 * 1e6))
        key, *rest = arguments
        if command == "GET":
            return self._stored.get(key)
        if command == "SET":
            self._stored[key] = rest[0]
        else:
            self._under_way.append((key, msgspec.json.decode(rest[0], type=Announcement)))
            asyncio.get_running_loop().call_later(ROUND_TRIP_SECONDS / 2, self._publish)
        return None

    def _publish(self) -> None:
        """Pass on the eldest message: the loop's timers keep no order among equal times."""
        key, announcement = self._under_way.popleft()
        for hear in self._listeners.get(key, ()):
            hear(announcement, asyncio.get_running_loop().time())

    def _encode(self, table: Any) -> str:
        return msgspec.json.encode(self._from_lua(table)).decode()

    def _from_lua(self, value: Any) -> Any:
        if lua51.lua_type(value) == "table":
            if len(value):
                return [self._from_lua(one) for one in value.values()]
            return {name: self._from_lua(one) for name, one in value.items()}
        return int(value) if isinstance(value, float) and value.is_integer() else value

    def _decode(self, text: str) -> Any:
        return self._to_lua(msgspec.json.decode(text))

    def _to_lua(self, value: Any) -> Any:
        if isinstance(value, dict):
            return self._lua.table_from({name: self._to_lua(one) for name, one in value.items()})
        if isinstance(value, list):
            return self._lua.table_from([self._to_lua(one) for one in value])
        return value


@contextmanager
def installed(twin: Twin) -> Iterator[None]:
    """Have limiters that run within the block ask this server."""

    class Link:
        def __init__(self, _: object, key: str) -> None:
            self._key = key

        async def send(self, report: Report) -> Reply:
            """Send a report."""
            if twin.is_away:
                await asyncio.sleep(ANSWER_SECONDS)
                raise TimeoutError
            await asyncio.sleep(ROUND_TRIP_SECONDS / 2)
            text = twin.report(self._key, report)
            await asyncio.sleep(ROUND_TRIP_SECONDS / 2)
            return msgspec.json.decode(text, type=Reply)

        async def leave(self, report: Report) -> None:
            """Send the last report."""
            twin.report(self._key, report)

        async def listen(self, hear: Callable[[Announcement, float], None]) -> None:
            """Hear what is published, until cancelled."""
            twin.listen(self._key, hear)
            await asyncio.Event().wait()

    numbers = count(1)
    # Lua goes through its tables in the order of names.
    names = SimpleNamespace(token_hex=lambda _: f"{next(numbers):016x}")
    with patch.object(_limiter, "RedisLink", Link), patch.object(member, "secrets", names):
        yield

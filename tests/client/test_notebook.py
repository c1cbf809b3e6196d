"""A notebook's cells: awaits at the top level, each cell a task of its own in one loop."""

from __future__ import annotations

import ast
import asyncio
import warnings
from types import FunctionType
from typing import Any

import pytest

from ideogram_async.testing import Gateway
from tests.support.calls import assert_silent, never

pytestmark = pytest.mark.anyio


async def _run_cells(*cells: str, **names: Any) -> dict[str, Any]:
    """Run cells as notebooks and `python -m asyncio` do; return the names that they leave."""
    scope = dict(names)
    for number, cell in enumerate(cells, 1):
        code = compile(cell, f"cell {number}", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = FunctionType(code, scope)()
        if running is not None:
            await asyncio.get_running_loop().create_task(running)
    return scope


async def test_awaits_at_the_top_level() -> None:
    """A client and a run are used from cell to cell, without any block, until `close`."""
    async with Gateway() as gateway:
        ids = [gateway.submit(duration=n) for n in range(4)]
        scope = await _run_cells(
            "from ideogram_async import IdeogramClient\nclient = IdeogramClient(url)",
            "one = await client.wait(ids[0])",
            "run = client.as_completed(ids)",
            "first = await anext(run)",
            "others = [request.request_id async for request in run]",
            "async for request in client.watch(ids[:1]):\n    pass",
            "async with client.as_completed(endless + ids) as held:\n"
            "    async for last in held:\n        break",
            "await client.close()",
            url=gateway.url,
            ids=ids,
            endless=never(gateway, 2),
        )
        assert scope["one"].request_id == ids[0]
        assert {scope["first"].request_id, *scope["others"]} == set(ids)
        assert scope["request"].request_id == ids[0]
        await assert_silent(gateway, scope["client"])


async def test_a_cell_that_is_interrupted() -> None:
    """A cell that is cancelled in the middle of a loop leaves the client to the next cell."""
    async with Gateway() as gateway:
        names = {"url": gateway.url, "endless": never(gateway), "one": gateway.submit(duration=1)}
        scope = await _run_cells(
            "from ideogram_async import IdeogramClient\nclient = IdeogramClient(url)", **names
        )
        with pytest.raises(TimeoutError), warnings.catch_warnings(action="error"):
            async with asyncio.timeout(5):
                await _run_cells("async for r in client.as_completed(endless): pass", **scope)
        await assert_silent(gateway, scope["client"])
        cells = "request = await client.wait(one)", "await client.aclose()"
        assert (await _run_cells(*cells, **scope))["request"].is_complete

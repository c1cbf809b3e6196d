"""The caller's ids on their way in: from iterables, from async sources, good and bad."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest

from ideogram_async._runs.id_source import IdSource

pytestmark = pytest.mark.anyio


class _Intake:
    """What a source has accepted and refused."""

    def __init__(self, ids: Any, max_pending: int) -> None:
        self.ids: list[str] = []
        self.refused: list[object] = []
        self.source = IdSource(
            ids,
            max_pending=max_pending,
            accept=lambda request_id, _: self.ids.append(request_id),
            refuse=lambda request_id, _: self.refused.append(request_id),
            accepted=lambda: None,
        )


async def test_an_async_source_as_there_is_room() -> None:
    """An async source is pulled up to `max_pending`; an id that was released may come again."""

    async def endless() -> AsyncIterator[str]:
        for n in range(10**6):
            yield f"id {n % 7}"

    intake = _Intake(endless(), 5)
    async with anyio.create_task_group() as group:
        group.start_soon(intake.source.run)
        await anyio.sleep(1)
        assert intake.ids == [f"id {n}" for n in range(5)]
        for request_id in intake.ids[:4]:
            intake.source.release(request_id)
        await anyio.sleep(1)
        assert intake.ids[5:] == ["id 5", "id 6", "id 0", "id 1"]
        group.cancel_scope.cancel()


async def test_an_iterable_that_raises() -> None:
    """What it raised is kept; what it had yielded before is taken in."""

    def failing() -> Any:
        yield from ("a", "b", "a")
        raise ZeroDivisionError

    intake = _Intake(failing(), 5)
    await intake.source.run()
    assert (intake.ids, intake.source.over) == (["a", "b"], True)
    assert isinstance(intake.source.error, ZeroDivisionError)

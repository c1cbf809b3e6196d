"""The state of a run, whatever polls its ids: here a backend that is told what to report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ideogram_async import IdeogramError, RequestError, SamplingRequest, WaitTimeout
from ideogram_async._runs.run import Run
from ideogram_async._runs.run_state import RunState

if TYPE_CHECKING:
    from ideogram_async._runs.run_state import TakeIn

pytestmark = pytest.mark.anyio


class _Backend:
    """Polls nothing; the test completes ids by hand."""

    def __init__(self) -> None:
        self.open: list[str] = []
        self.left = 0

    def enter(self, run: RunState[Any]) -> None:
        """Keep the run."""
        self.run = run

    def poll(self, request_id: str, now: float) -> None:
        """Open an id."""
        assert now >= 0
        self.open.append(request_id)

    def complete(self, request_id: str) -> None:
        """Let an id end well."""
        self.open.remove(request_id)
        self.run.results.completed(request_id, SamplingRequest(request_id=request_id))

    def wake(self) -> None:
        """Do nothing."""

    def start(self, take_in: TakeIn | None) -> None:
        """Do nothing: a list of a few ids is taken in by then."""
        assert take_in is None

    def open_ids(self) -> list[str]:
        """List the open ids."""
        return self.open

    def last_fault(self) -> None:
        """Know of no fault."""

    def leave(self) -> list[str]:
        """List the open ids."""
        self.left += 1
        return self.open

    async def aclose(self) -> None:
        """Do nothing."""


def _run(ids: list[str], **settings: Any) -> tuple[_Backend, RunState[Any]]:
    backend = _Backend()
    return backend, RunState(ids, backend, **settings)


async def test_an_error_after_the_end_ends_nothing() -> None:
    """Once all ids have ended, the caller has their results and a good end, whatever comes."""
    backend, state = _run(["a", "b"])
    run: Run[SamplingRequest] = Run(state, None)
    backend.complete("b")
    backend.complete("a")
    assert backend.left == 1
    state.end(IdeogramError("too late"))
    assert [request.request_id async for request in run] == ["b", "a"]


async def test_an_early_end_comes_after_what_is_ready() -> None:
    """The caller has what is ready, then the error; each caller has a copy that lists the rest."""
    backend, state = _run(["a", "b", "c"], timeout=5)
    backend.complete("b")
    state.end(WaitTimeout("now"))
    backend.run.results.failed("c", RequestError("ignored"))
    assert (await state.results.next()).request_id == "b"
    errors: list[IdeogramError] = []
    for _ in range(2):
        with pytest.raises(WaitTimeout) as caught:
            await state.results.next()
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert [error.pending for error in errors] == [("a", "c")] * 2
    assert state.statistics().failed == 0


async def test_a_bad_id_leaves_the_backend() -> None:
    """Where the call raises for a bad id, what was polled by then is left."""
    backend = _Backend()
    with pytest.raises(ValueError, match="empty"):
        RunState(["a", ""], backend)
    assert (backend.open, backend.left) == (["a"], 1)

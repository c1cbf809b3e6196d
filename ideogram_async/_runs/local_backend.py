"""A run whose ids are polled by the client that made it."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from ideogram_async._errors import IdeogramError, RequestError
from ideogram_async._polling.dispatcher import Dispatcher
from ideogram_async._polling.tracker import JobTracker
from ideogram_async._runs.ids import Ids
from ideogram_async._runs.run_state import RunState, TakeIn


def local_run(
    ids: Ids,
    dispatcher: Dispatcher,
    tracker: JobTracker,
    *,
    is_one_shot: bool = False,
    wants_changes: bool = False,
    deadline: float | None = None,
    just_submitted: bool = False,
    **settings: Any,
) -> RunState[Any]:
    """Return a run over these ids; `settings` are those of `RunState`."""
    backend = LocalBackend(
        dispatcher,
        tracker,
        is_one_shot=is_one_shot,
        wants_changes=wants_changes,
        deadline=deadline,
        just_submitted=just_submitted,
    )
    done = "answered" if is_one_shot else "complete"
    return RunState(ids, backend, wants_changes=wants_changes, ended_well=done, **settings)


class LocalBackend:
    """A run as a subscriber of the client's jobs; see `Subscriber` for what its fields mean."""

    urgent = False
    request_id = ""

    def __init__(
        self,
        dispatcher: Dispatcher,
        tracker: JobTracker,
        *,
        is_one_shot: bool,
        wants_changes: bool,
        deadline: float | None,
        just_submitted: bool,
    ) -> None:
        self.is_one_shot = is_one_shot
        self.wants_changes = wants_changes
        self.deadline = deadline
        self.shared_ids: set[str] = set()
        self.context: Context = copy_context()
        self._dispatcher = dispatcher
        self._tracker = tracker
        # As a `RunBackend`, what the parts of the client do
        self.poll: Callable[[str, float], None] = partial(
            tracker.subscribe, self, just_submitted=just_submitted
        )
        self.wake: Callable[[], None] = dispatcher.wake
        self.open_ids: Callable[[], list[str]] = partial(tracker.open_ids, self)
        self.last_fault: Callable[[], RequestError | None] = partial(tracker.last_fault, self)

    # As a `RunBackend`

    def enter(self, run: RunState[Any]) -> None:
        """Enter the run as a subscriber; raise where it cannot begin."""
        self._run, self._loop = run, run.loop
        # As a `Subscriber`: what the run's buffer does, without a call in between.
        self.changed, self.completed = run.results.changed, run.results.completed
        self.failed = run.results.failed
        self.times_out_at = run.times_out_at
        self._tracker.enter(self, self._loop.time())

    def start(self, take_in: TakeIn | None) -> None:
        """Start polling, and beside the workers the intake of the other ids."""
        if take_in is not None:
            self._dispatcher.spawn(take_in, "ideogram_async intake")
        self._dispatcher.wake()

    def leave(self) -> list[str]:
        """Unsubscribe from all ids; return those that were open."""
        left = self._tracker.leave(self, self._loop.time())
        self._dispatcher.clean_up()
        return left

    async def aclose(self) -> None:
        """Return at once: nothing lingers after `leave`."""

    # As a `Subscriber`

    def end(self, error: IdeogramError) -> None:
        """End the run early."""
        self._run.end(error)

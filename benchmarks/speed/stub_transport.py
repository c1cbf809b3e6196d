"""A transport without HTTP, where a benchmark measures everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.speed.answers import ID_MARK
from ideogram_async import SamplingRequest, User, _runtime
from ideogram_async._protocol.answers import read_answer

if TYPE_CHECKING:
    from ideogram_async._protocol.outcome import Answer, Fault
    from ideogram_async._statistics import TransportLane

_RUNNING = SamplingRequest(
    request_id=ID_MARK.decode(),
    completion_percentage=50,
    is_completed=False,
    has_started=True,
    creation_time_float=1700000000.5,
    request_type="TEXT_TO_IMAGE",
    model_version="V_3_0",
    aspect_ratio="1:1",
    user=User(user_id="U0example-000000000001"),
    user_prompt="A teapot on a windowsill, in the morning.",
)


class StubTransport:
    """Returns each answer a turn of the loop later, and decodes it as the real transport does.

    Every request is half complete, and stays so.
    """

    def __init__(self, *_arguments: object, **_settings: object) -> None:
        self.queries = self.replays = 0
        body = msgspec.json.encode({"sampling_requests": [_RUNNING]})
        self._before, self._after = body.split(ID_MARK)
        self._headers = {"Date": "Tue, 14 Nov 2023 22:13:40 GMT"}

    @property
    def lane(self) -> tuple[TransportLane, str]:
        """What statistics show."""
        return "fast", "nothing is sent"

    async def query(self, _index: int, request_id: str, _context: object) -> Answer | Fault:
        """Return the answer for an id."""
        self.queries += 1
        await asyncio.sleep(0)
        body = b"".join((self._before, request_id.encode(), self._after))
        return read_answer(request_id, 200, self._headers, body)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def replace_transport() -> None:
    """Have all clients of this process use a `StubTransport` from now on."""
    runtime: Any = _runtime
    runtime.Transport = StubTransport

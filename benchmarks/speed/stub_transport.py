"""A transport without HTTP, where a benchmark measures everything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from benchmarks.speed.answers import COMPLETE, ID_MARK
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
_COMPLETE = msgspec.structs.replace(_RUNNING, completion_percentage=100, is_completed=True)


def _parts(record: SamplingRequest) -> list[bytes]:
    """Return the body with a record, without the id."""
    return msgspec.json.encode({"sampling_requests": [record]}).split(ID_MARK)


class StubTransport:
    """Returns each answer a turn of the loop later, and decodes it as the real transport does.

    A request is complete, or half complete and stays so, as its id says.
    """

    def __init__(self, *_arguments: object, **_settings: object) -> None:
        self.queries = self.replays = 0
        self._running, self._complete = map(_parts, (_RUNNING, _COMPLETE))
        self._headers = {"Date": "Tue, 14 Nov 2023 22:13:40 GMT"}

    @property
    def lane(self) -> tuple[TransportLane, str]:
        """What statistics show."""
        return "fast", "nothing is sent"

    async def query(self, _index: int, request_id: str, _context: object) -> Answer | Fault:
        """Return the answer for an id."""
        self.queries += 1
        await asyncio.sleep(0)
        before, after = self._complete if request_id[0] == COMPLETE else self._running
        body = b"".join((before, request_id.encode(), after))
        return read_answer(request_id, 200, self._headers, body)

    async def close(self) -> None:
        """Do nothing: there is nothing to close."""


def replace_transport() -> None:
    """Have all clients of this process use a `StubTransport` from now on."""
    runtime: Any = _runtime
    runtime.Transport = StubTransport

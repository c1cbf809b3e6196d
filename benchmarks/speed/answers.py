"""The answers of the benchmarks' server: one made-up record of 3.8 KB, with the id put in.

The first letter of an id says whether its request is complete or never completes.
"""

from __future__ import annotations

import base64
import random

import msgspec

from ideogram_async import SamplingRequest, SamplingResponse, User

ID_LENGTH = 22
COMPLETE, RUNNING = "C", "R"
ID_MARK = b"@" * ID_LENGTH
DATE_MARK = b"Thu, 01 Jan 1970 00:00:00 GMT"
"""The places that the server overwrites."""

BODY_BYTES = 3_800
"""The size of a body; captured answers are as large."""


class _Envelope(msgspec.Struct):
    sampling_requests: tuple[SamplingRequest, ...]


decode = msgspec.json.Decoder(_Envelope).decode


def make_ids(count: int, kind: str, seed: int = 0) -> list[str]:
    """Return random ids of one kind, as the wire has them: 16 bytes in URL-safe base64."""
    draw = random.Random(seed).randbytes
    return [kind + base64.urlsafe_b64encode(draw(16))[1:22].decode() for _ in range(count)]


def response(kind: str) -> bytes:
    """Return the whole answer, its head included, with marks for the date and the id."""
    body = _body(kind)
    head = (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: %b\r\n"
        b"Content-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Connection: keep-alive\r\nVary: Accept-Encoding\r\n\r\n"
    )
    return head % (DATE_MARK, len(body)) + body


def _body(kind: str) -> bytes:
    """Return the encoded record, its prompts made so long that it has `BODY_BYTES`."""
    short = msgspec.json.encode(_Envelope((_record(kind, ""),)))
    prompt = ("A teapot on a windowsill, in the morning. " * 40)[: (BODY_BYTES - len(short)) // 5]
    return msgspec.json.encode(_Envelope((_record(kind, prompt),)))


def _record(kind: str, prompt: str) -> SamplingRequest:
    done = kind == COMPLETE
    return SamplingRequest(
        request_id=ID_MARK.decode(),
        completion_percentage=100 if done else 50,
        is_completed=done,
        is_errored=False,
        has_started=True,
        creation_time_float=1700000000.950963,
        responses=tuple(_image(i, prompt) for i in range(4)),
        cover_response_id="R0cover-00000000000001",
        request_type="TEXT_TO_IMAGE",
        model_version="V_3_0",
        model_uri="model/V_3_0/version/0",
        sampling_speed=-2,
        seed=1234567890,
        aspect_ratio="1:1",
        resolution=1024,
        image_resolution="RESOLUTION_1024_1024",
        width=1024,
        height=1024,
        can_upscale=done,
        private=True,
        expected_number_of_final_responses=4,
        user=User(user_id="U0example-000000000001", display_handle="example"),
        user_prompt=prompt,
        user_negative_prompt="blurred",
        user_hparams={"aspect_ratio": "1:1"},
    )


def _image(index: int, prompt: str) -> SamplingResponse:
    response_id = f"R{index}image-00000000000001"
    place = "https://ideogram.ai/assets/progressive-image/balanced/response/"
    return SamplingResponse(
        response_id=response_id,
        prompt=prompt,
        cover=index == 0,
        descriptions=(),
        highest_fidelity=index == 0,
        is_autoprompt=True,
        num_likes=0,
        num_remixes=0,
        self_like=False,
        image_url=place + response_id if index == 0 else None,
    )

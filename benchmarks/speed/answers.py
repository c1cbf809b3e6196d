"""The answers of the benchmarks' server: one made-up record, with the id put in.

The first letter of an id says whether its request is complete or never completes.
"""

from __future__ import annotations

import base64
import random
from typing import Literal, get_args

import msgspec

from ideogram_async import SamplingRequest, SamplingResponse, User

ID_LENGTH = 22
COMPLETE, RUNNING = "C", "R"
ID_MARK = b"@" * ID_LENGTH
IMAGES = 4
DATE_MARK = b"Thu, 01 Jan 1970 00:00:00 GMT"
"""The places that the server overwrites."""

Shape = Literal["usual", "cdn", "small"]
"""usual: the record of a complete request. cdn: the same, under as many headers as a CDN adds.
small: the record of a request that has just been submitted."""
SHAPES: tuple[Shape, ...] = get_args(Shape)
BODY_BYTES: dict[Shape, int] = {"usual": 3_800, "cdn": 3_800, "small": 890}
"""The size of a body; captured answers are as large."""
_CDN_HEADERS = (
    b"CF-Ray: 8c0ffee0deadbeef-FRA\r\nCF-Cache-Status: DYNAMIC\r\nAge: 0\r\nVia: 1.1 edge\r\n"
    b"Cache-Control: no-store\r\nX-Request-Id: 0123456789abcdef0123456789abcdef\r\n"
    b"X-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\nReferrer-Policy: no-referrer\r\n"
    b"Strict-Transport-Security: max-age=31536000; includeSubDomains\r\n"
    b'Access-Control-Allow-Origin: *\r\nAlt-Svc: h3=":443"; ma=86400\r\n'
)
"""They make it 17."""


class _Envelope(msgspec.Struct):
    sampling_requests: tuple[SamplingRequest, ...]


decode = msgspec.json.Decoder(_Envelope).decode


def make_ids(count: int, kind: str, seed: int = 0) -> list[str]:
    """Return random ids of one kind, as the wire has them: 16 bytes in URL-safe base64."""
    draw = random.Random(seed).randbytes
    return [kind + base64.urlsafe_b64encode(draw(16))[1:22].decode() for _ in range(count)]


def response(kind: str, shape: Shape = "usual") -> bytes:
    """Return the whole answer, its head included, with marks for the date and the id."""
    body = _body(kind, shape)
    head = (
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: %b\r\n"
        b"Content-Type: application/json; charset=utf-8\r\nContent-Length: %d\r\n"
        b"Connection: keep-alive\r\nVary: Accept-Encoding\r\n%b\r\n"
    )
    return head % (DATE_MARK, len(body), _CDN_HEADERS if shape == "cdn" else b"") + body


def _body(kind: str, shape: Shape) -> bytes:
    """Return the encoded record, its prompts made so long that it has `BODY_BYTES`."""
    images = 0 if shape == "small" else IMAGES
    short = msgspec.json.encode(_Envelope((_record(kind, "", images),)))
    room = (BODY_BYTES[shape] - len(short)) // (1 + images)
    prompt = ("A teapot on a windowsill, in the morning. " * 40)[:room]
    return msgspec.json.encode(_Envelope((_record(kind, prompt, images),)))


def _record(kind: str, prompt: str, images: int) -> SamplingRequest:
    done = kind == COMPLETE
    return SamplingRequest(
        request_id=ID_MARK.decode(),
        completion_percentage=100 if done else 50,
        is_completed=done,
        is_errored=False,
        has_started=True,
        creation_time_float=1700000000.950963,
        responses=tuple(_image(i, prompt) for i in range(images)),
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
        expected_number_of_final_responses=IMAGES,
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

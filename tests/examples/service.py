"""A web application: callers that leave are noticed, and progress is sent as events.

One client lives as long as the application. What nobody awaits any more is not polled.
"""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from ideogram_async import IdeogramClient, IdeogramError, RequestError, SamplingRequest, WaitTimeout


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with IdeogramClient() as client:  # IDEOGRAM_BASE_URL, IDEOGRAM_TOKEN
        app.state.client = client
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/requests/{request_id}")
async def image_request(request_id: str, request: Request) -> Response:
    """Answer when the request is complete; stop waiting when the caller has gone."""
    answer = Response(status_code=499)  # nobody is there to read it
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(cancel_when_gone, request, tasks.cancel_scope)
        answer = await finished(request.app.state.client, request_id)
        tasks.cancel_scope.cancel()
    return answer


async def finished(client: IdeogramClient, request_id: str) -> Response:
    try:
        request = await client.wait(request_id, timeout=60)
    except (RequestError, WaitTimeout) as error:
        return JSONResponse({"detail": str(error)}, 503 if error.retryable else 502)
    return Response(msgspec.json.encode(request), media_type="application/json")


async def cancel_when_gone(request: Request, scope: anyio.CancelScope) -> None:
    """Cancel a scope when the caller has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


@app.get("/requests/{request_id}/progress")
async def progress(request_id: str, request: Request) -> StreamingResponse:
    """Send each change as a server-sent event, then one event `end`.

    At `end` the page calls `EventSource.close()`; otherwise a browser connects again for ever.
    """
    client: IdeogramClient = request.app.state.client
    return StreamingResponse(events(client, request_id), media_type="text/event-stream")


async def events(client: IdeogramClient, request_id: str) -> AsyncIterator[str]:
    """Yield the events: `progress` for each change, `failed` with the reason, and `end`."""
    try:
        async with client.watch([request_id], return_exceptions=True) as changes:
            async for change in changes:
                yield event_of(change)
    except IdeogramError as error:  # it ended the run: keys refused, the client closed
        yield event_of(error)
    yield "event: end\ndata:\n\n"


def event_of(change: SamplingRequest | IdeogramError) -> str:
    """Return one server-sent event. JSON keeps its data on one line."""
    if isinstance(change, IdeogramError):
        return f"event: failed\ndata: {json.dumps(str(change))}\n\n"
    return f"event: progress\ndata: {json.dumps(change.completion_percentage)}\n\n"

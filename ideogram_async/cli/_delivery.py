"""Delivery of results: written, reported, their images saved; and what ends a run early."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from ideogram_async import (
    AuthenticationError,
    IdeogramError,
    RequestError,
    Run,
    SamplingRequest,
)
from ideogram_async.cli._console import complain
from ideogram_async.cli._exit_codes import Code, CommandError
from ideogram_async.cli._image_saver import ImageSaver
from ideogram_async.cli._progress_display import ProgressDisplay
from ideogram_async.cli._results import Results

Stream = Run[SamplingRequest | RequestError]


async def deliver(
    run: Stream, display: ProgressDisplay, results: Results, saver: ImageSaver | None
) -> None:
    """Write each finished request, report each failure, and show the progress of the others."""
    async for result in run:
        if isinstance(result, RequestError):
            display.bars.remove(result.request_id)
            display.console.say_failed(_reason(result))
            if saver is not None:
                saver.add_failure(result, _reason(result))
        elif not result.is_complete:
            display.bars.update(result)
        else:
            display.bars.remove(result.request_id)
            if results.on_terminal:
                display.hide()
            await results.add(result)
            if saver is not None:
                saver.add(result)


@contextmanager
def explained(run: Stream, results: Results) -> Iterator[None]:
    """Turn what ended the run early into an error that also says what is open."""
    try:
        yield
    except asyncio.CancelledError:
        complain(f"interrupted, {_left(run, results)}")
        raise
    except AuthenticationError as error:
        raise CommandError(f"{error.args[0]}; {_left(run, results)}", Code.ENDED) from None
    except IdeogramError as error:
        raise CommandError(f"{error}; {_left(run, results)}", Code.ENDED) from None
    except BrokenPipeError:
        raise
    except OSError as error:
        message = f"{results.name}: {error.strerror}; {_left(run, results)}"
        raise CommandError(message, Code.ENDED) from None


def _reason(error: RequestError) -> str:
    """Return why an id failed; for a deadline, with the last fault."""
    return f"{error}; last: {error.__cause__}" if error.__cause__ else str(error)


def _left(run: Stream, results: Results) -> str:
    """Return what is open, and how to go on, in words."""
    pending = len({*run.pending, *run.rest})
    if results.resumable:
        return f"{pending} pending; to go on, call it again with the same {results.name}"
    if not pending:
        return "0 pending"
    return f"{pending} pending; to go on, give the ids again (a complete one costs one query)"

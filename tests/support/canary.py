"""A key that is found wherever it stands: what an error, its chain and its frames would show."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Iterator
from pathlib import Path

from ideogram_async import IdeogramError

CANARY = "canary-4711"
HERE = str(Path(__file__).parents[1])


def left_by(error: BaseException) -> Iterator[str]:
    """List what an error, and those behind it, would show, with each frame's locals.

    The tests' own frames know the key.
    """
    yield from (repr(error), str(error), repr(error.args), repr(vars(error)))
    if isinstance(error, IdeogramError):
        yield repr(pickle.dumps(error))
    told = traceback.TracebackException.from_exception(error, capture_locals=True)
    for frame in told.stack:
        if not frame.filename.startswith(HERE):
            yield repr(frame.locals)
    inner = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    for other in (error.__cause__, error.__context__, *inner):
        if other is not None:
            yield from left_by(other)

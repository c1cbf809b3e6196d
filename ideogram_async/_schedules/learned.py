"""What the adaptive schedule has learned: bands of log residuals, in a pool per kind of request."""

from __future__ import annotations

from bisect import bisect_right
from math import log, sqrt
from typing import TYPE_CHECKING, TypeAlias

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ideogram_async._models import SamplingRequest

EDGES = (1, 25, 50, 75, 90, 99)
"""The percentages at which bands 1 to 6 begin; band 0 is without progress."""
MAX_POOLS = 64
"""Kinds come from the wire, so their number is bounded: the one taught longest ago goes."""
EVER = 1e6
"""No request is older, in seconds, or a clock that jumps would overflow."""
_PRIOR_N, _MEMORY = 2, 64
_WIDEST = 40.0  # beyond any log residual of such ages

Kind: TypeAlias = "tuple[str | None, str | None, int | None]"


def within(least: float, x: float, most: float) -> float:
    """Give x, or the bound that it is beyond."""
    return x if least <= x <= most else least if x < least else most


def band_of(p: float) -> int:
    """Give the band of a percentage."""
    return bisect_right(EDGES, p)


class Band(msgspec.Struct, frozen=True, gc=False):
    """What is known of a log residual: its mean and variance over about `n` samples."""

    n: float
    mean: float
    var: float

    @property
    def sg(self) -> float:
        """The standard deviation to expect of the next residual: the predictive one of `n`."""
        return within(0.05, sqrt(self.var * (1 + 1 / self.n)), 1.5)

    def taught(self, residual: float) -> Band:
        """Take in one more residual: a running mean that forgets (West 1979), gain ≥ 1/64."""
        gain = max(1 / (self.n + 1), 1 / _MEMORY)
        error = residual - self.mean
        mean = self.mean + gain * error
        var = (1 - gain) * (self.var + gain * error * error)
        return Band(min(self.n + 1, _MEMORY), mean, var)

    def loosened(self) -> Band:
        """Give the same, held as loosely as a prior."""
        return Band(_PRIOR_N, self.mean, self.var)


# Progress is believed until it disappoints: its sg is just below the widest that is believed. The
# naive estimate counts the queue as work done, so it is late, and its mean negative. But 99 is no
# promise: upscales were seen to stay there for most of their time, so it has to prove itself.
_PRIOR = (
    Band(_PRIOR_N, log(10.0), 1.0),
    *[Band(_PRIOR_N, -0.3, 0.53)] * (len(EDGES) - 1),
    Band(_PRIOR_N, 0.0, 1.0),
)


class LearnedKind(msgspec.Struct, frozen=True):
    """The bands of one kind of request."""

    model_version: str | None
    request_type: str | None
    sampling_speed: int | None
    bands: tuple[Band, ...]


class Learned(msgspec.Struct, frozen=True):
    """What an `AdaptiveSchedule` has learned, to be kept: `msgspec.json.encode(learned)`."""

    bands: tuple[Band, ...]
    """Those of all requests together."""
    kinds: tuple[LearnedKind, ...] = ()


class Pools:
    """A pool of bands for each kind of request, and one for all together."""

    def __init__(self, learned: Learned | None) -> None:
        self.all = _checked(_PRIOR if learned is None else learned.bands)
        self._kinds: dict[Kind, list[Band]] = {}
        for kind in () if learned is None else learned.kinds[-MAX_POOLS:]:
            key = (kind.model_version, kind.request_type, kind.sampling_speed)
            self._kinds[key] = _checked(kind.bands)

    def __len__(self) -> int:
        return len(self._kinds)

    def of(self, record: SamplingRequest) -> list[Band]:
        """Give the bands of the record's kind, or of all where it has not been seen to complete."""
        return self._kinds.get(_kind(record), self.all) if self._kinds else self.all

    def teach(self, record: SamplingRequest, k: int, residual: float) -> None:
        """Teach band k of the record's kind, and of all together."""
        _teach(self.all, k, residual)
        kind = _kind(record)
        if kind != (None, None, None):
            _teach(self._own(kind), k, residual)

    def save(self) -> Learned:
        """Give all bands."""
        kinds = (LearnedKind(*kind, tuple(pool)) for kind, pool in self._kinds.items())
        return Learned(tuple(self.all), tuple(kinds))

    def _own(self, kind: Kind) -> list[Band]:
        """Give the kind's own pool; a new one starts with what all together know, held loosely."""
        pool = self._kinds.pop(kind, None)
        if pool is None:
            pool = [band.loosened() for band in self.all]
            if len(self._kinds) >= MAX_POOLS:
                del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = pool
        return pool


def _kind(record: SamplingRequest) -> Kind:
    return record.model_version, record.request_type, record.sampling_speed


def _teach(pool: list[Band], k: int, residual: float) -> None:
    """Teach band k; a lesson on progress also moves the bands that have had none of their own."""
    for i in range(1, len(pool)) if k else ():
        if i != k and pool[i].n == _PRIOR_N:
            pool[i] = pool[i].taught(residual).loosened()
    pool[k] = pool[k].taught(residual)


def _checked(bands: Sequence[Band]) -> list[Band]:
    if len(bands) != len(_PRIOR):
        raise ValueError(f"learned: {len(bands)} bands, expected {len(_PRIOR)}")
    for band in bands:
        known = 1 <= band.n <= _MEMORY and -_WIDEST <= band.mean <= _WIDEST
        if not (known and 0 <= band.var <= _WIDEST**2):  # nan fails every comparison
            raise ValueError(f"learned: {band!r} is out of bounds")
    return list(bands)

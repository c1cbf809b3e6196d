"""What the adaptive schedule has learned: bands of log residuals, in a pool per kind of request."""

from __future__ import annotations

from bisect import bisect_right
from math import log, sqrt
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from ideogram_async._schedules.progress_line import MOST_STRAY_VARIANCES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ideogram_async._models import SamplingRequest

EDGES = (1, 25, 50, 75, 90, 99)
"""The percentages at which bands 1 to 6 begin; band 0 is without progress."""
MAX_POOLS = 64
"""Kinds come from the wire, so their number is bounded: the one taught longest ago goes."""
OLDEST_SECONDS = 1e6
"""No request is older, in seconds, or a clock that jumps would overflow."""
_PRIOR_SAMPLES, _MEMORY_SAMPLES = 2, 64
_STRAY_MEMORY_SAMPLES, _FAILED_MEMORY_SAMPLES = 32, 5
"""Samples. A line that was wholly wrong counts six times as much as another, so that a change to
crooked progress is seen after two or three such; of straight ones hardly any is that wrong."""
TELLING_VARIANCE_SHARE = 0.5
"""Of the variance of what was expected, up to which a line shows when it began."""
STRAY_BELIEVED_VARIANCES = 2.0
"""Squared, in variances: up to it, lines are believed. Straight ones have 1 on average."""
_WIDEST_RESIDUAL = 40.0  # beyond any log residual of such ages

Kind: TypeAlias = "tuple[str | None, str | None, int | None]"


def within(least: float, x: float, most: float) -> float:
    """Return x, or the bound that it is beyond."""
    return x if least <= x <= most else least if x < least else most


def band_of(percentage: float) -> int:
    """Return the band of a percentage."""
    return bisect_right(EDGES, percentage)


class Band(msgspec.Struct, frozen=True, gc=False):
    """What is known of a log residual: its mean and variance over about `n` samples."""

    n: float
    mean: float
    var: float

    @property
    def deviation(self) -> float:
        """The standard deviation to expect of the next residual: the predictive one of `n`."""
        return within(0.05, sqrt(self.var * (1 + 1 / self.n)), 1.5)

    def taught(
        self, residual: float, *, memory: int = _MEMORY_SAMPLES, uncertainty: float = 0.0
    ) -> Band:
        """Return the band after one more residual: a running mean that forgets (West 1979).

        The gain is at least 1/`memory`. `uncertainty` is the variance of the residual itself, where
        it was estimated and not seen: it adds to the band's, as in EM (Dempster et al. 1977).
        """
        gain = max(1 / (self.n + 1), 1 / memory)
        error = residual - self.mean
        mean = self.mean + gain * error
        var = (1 - gain) * (self.var + gain * error * error) + gain * uncertainty
        return Band(min(self.n + 1, memory), mean, var)

    def loosened(self) -> Band:
        """Return the same, held as loosely as a prior."""
        return Band(_PRIOR_SAMPLES, self.mean, self.var)


# Progress is believed until it disappoints: its deviation is just below the widest believed. The
# naive estimate counts the queue as work done, so it is late, and its mean negative. But 99 is no
# promise: upscales were seen to stay there for most of their time, so it has to prove itself.
_PRIOR = (
    Band(_PRIOR_SAMPLES, log(10.0), 1.0),
    *[Band(_PRIOR_SAMPLES, -0.3, 0.53)] * (len(EDGES) - 1),
    Band(_PRIOR_SAMPLES, 0.0, 1.0),
)
STRAY_PRIOR = Band(_PRIOR_SAMPLES, 2.5, 0.0)
"""Lines are not believed until some requests have proved straight."""
BEGUN_PRIOR = Band(_PRIOR_SAMPLES, 0.1, 0.1**2)
"""A tenth of the duration is waited for, ± a tenth. Were it narrower, to wait for a quarter of it
would be taken for crooked progress."""


class LearnedKind(msgspec.Struct, frozen=True):
    """What was learned of one kind of request."""

    model_version: str | None
    request_type: str | None
    sampling_speed: int | None
    bands: tuple[Band, ...]
    stray: Band = STRAY_PRIOR
    begun: Band = BEGUN_PRIOR


class Learned(msgspec.Struct, frozen=True):
    """What an `AdaptiveSchedule` has learned, to be kept: `msgspec.json.encode(learned)`.

    What an earlier version has saved can be loaded: what it lacks has its first value.
    """

    bands: tuple[Band, ...]
    """Log residuals of all requests together: without progress, and by the last percentage."""
    kinds: tuple[LearnedKind, ...] = ()
    stray: Band = STRAY_PRIOR
    """How far requests end from the line through their progress: squared, in variances."""
    begun: Band = BEGUN_PRIOR
    """The share of its duration that a request waits before its progress begins."""


class LineSample(NamedTuple):
    """What a completed request shows of how straight its progress was, and how long it waited."""

    stray: float | None
    """How far it ended from its line: squared, in variances; None where it had one point."""
    begun: float | None
    """The share of its duration after which it began; None where the line was given up …"""
    begun_variance: float
    """… and how uncertain that is."""


class CompletionSample(msgspec.Struct, frozen=True, array_like=True):
    """What one completion has taught an `AdaptiveSchedule`; it tells of no clock, and of no id.

    It can be sent to another process: `msgspec.json.encode(sample)`.
    """

    kind: Kind
    duration: float
    """Its logarithm, as the residual of band 0."""
    band: int
    """The band of one of its estimates; 0 for none …"""
    residual: float
    """… and by how much that was wrong."""
    line: LineSample | None


class BandPool:
    """What was learned of one kind of request, or of all together."""

    __slots__ = ("bands", "begun", "deviations", "duration", "first_look", "stray")

    def __init__(self, bands: Sequence[Band], stray: Band, begun: Band) -> None:
        self.bands: list[Band] = list(bands)
        self.deviations: list[float] = [band.deviation for band in bands]
        """The deviation of each band: they are looked at once per query."""
        self.duration: tuple[float, float] = bands[0].mean, bands[0].deviation
        """How long requests take: the log of the median, and its deviation."""
        self.first_look: tuple[float, float] = 0.0, 0.0
        """A price, and the seconds from a request's start to its first query at that price."""
        self.stray: Band = stray
        self.begun: Band = begun

    @property
    def is_straight(self) -> bool:
        """Whether the line through a request's progress is to be believed."""
        return self.stray.mean <= STRAY_BELIEVED_VARIANCES

    def loosened(self) -> BandPool:
        """Return the same, held as loosely as a prior."""
        bands = [band.loosened() for band in self.bands]
        return BandPool(bands, self.stray.loosened(), self.begun.loosened())

    def teach_band(self, k: int, residual: float) -> None:
        """Teach band k; a sample of progress also moves the bands that have had none themselves."""
        bands = self.bands
        for i in range(1, len(bands)) if k else ():
            if i != k and bands[i].n == _PRIOR_SAMPLES:
                bands[i] = bands[i].taught(residual).loosened()
                self.deviations[i] = bands[i].deviation
        bands[k] = bands[k].taught(residual)
        self.deviations[k] = bands[k].deviation
        if k == 0:
            self.duration = bands[0].mean, self.deviations[0]
            self.first_look = 0.0, 0.0

    def teach_line(self, sample: LineSample) -> None:
        """Teach how straight lines are, and when progress begins.

        A line that was given up may have begun at any time, so the band widens towards its prior.
        One that hardly shows when it began teaches nothing of it, or the band would stay as it is.
        """
        if sample.stray is not None:
            failed = sample.stray >= MOST_STRAY_VARIANCES
            memory = _FAILED_MEMORY_SAMPLES if failed else _STRAY_MEMORY_SAMPLES
            self.stray = self.stray.taught(sample.stray, memory=memory)
        if sample.begun is None:
            self.begun = self.begun.taught(self.begun.mean, uncertainty=BEGUN_PRIOR.var)
        elif sample.begun_variance < TELLING_VARIANCE_SHARE * self.begun.var:
            self.begun = self.begun.taught(sample.begun, uncertainty=sample.begun_variance)


class Pools:
    """A pool for each kind of request, and one for all together."""

    def __init__(self, learned: Learned | None) -> None:
        first = Learned(_PRIOR) if learned is None else learned
        self.all: BandPool = _checked(first)
        self._kinds: dict[Kind, BandPool] = {}
        for kind in first.kinds[-MAX_POOLS:]:
            key = (kind.model_version, kind.request_type, kind.sampling_speed)
            self._kinds[key] = _checked(kind)

    def __len__(self) -> int:
        return len(self._kinds)

    def of(self, record: SamplingRequest) -> BandPool:
        """Return the pool of the record's kind, or of all where none of it has completed yet."""
        return self._kinds.get(kind_of(record), self.all) if self._kinds else self.all

    def taught_by(self, kind: Kind) -> Iterator[BandPool]:
        """Yield the pools that learn of a kind: that of all together, then the kind's own.

        A new kind's own pool starts with what all together know by then, held loosely.
        """
        yield self.all
        if kind == (None, None, None):
            return
        pool = self._kinds.pop(kind, None)
        if pool is None:
            pool = self.all.loosened()
            if len(self._kinds) >= MAX_POOLS:
                del self._kinds[next(iter(self._kinds))]
        self._kinds[kind] = pool
        yield pool

    def save(self) -> Learned:
        """Return all that was learned."""
        kinds = (
            LearnedKind(*kind, tuple(pool.bands), pool.stray, pool.begun)
            for kind, pool in self._kinds.items()
        )
        return Learned(tuple(self.all.bands), tuple(kinds), self.all.stray, self.all.begun)


def kind_of(record: SamplingRequest) -> Kind:
    """Return what requests of one kind have in common."""
    return record.model_version, record.request_type, record.sampling_speed


def _checked(learned: Learned | LearnedKind) -> BandPool:
    bands = learned.bands
    if len(bands) != len(_PRIOR):
        raise ValueError(f"learned: {len(bands)} bands, expected {len(_PRIOR)}")
    for band in (*bands, learned.stray, learned.begun):
        known = 1 <= band.n <= _MEMORY_SAMPLES and abs(band.mean) <= _WIDEST_RESIDUAL
        if not (known and 0 <= band.var <= _WIDEST_RESIDUAL**2):  # nan fails every comparison
            raise ValueError(f"learned: {band!r} is out of bounds")
    return BandPool(bands, learned.stray, learned.begun)

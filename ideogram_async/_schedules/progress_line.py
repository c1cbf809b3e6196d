"""A straight line fitted to a request's progress: its start, and the seconds per percent.

A percentage p that was told at the time t is taken as a noisy point of t = begun + p·pace. A Kalman
filter (Kalman 1960) follows the two unknowns; neither changes, so it is recursive least squares
(Plackett 1950) with a prior. Seconds throughout; no clock, no I/O.
"""

from __future__ import annotations

from math import exp, log
from typing import NamedTuple

import msgspec

NOISE_PERCENT = 1.2
"""The standard deviation of a told percentage. Captured progress was up to 2 points off a line; a
uniform error of 2 has one of 2/√3 = 1.15."""
NOISE_VARIANCE = 0.001
"""Seconds², of the time at which the gateway reads the state: round trips of 50 to 300 ms."""
GATE_DEVIATIONS = 4.0
"""A point that is further from the line, in standard deviations, is none of a line (the validation
gate of Bar-Shalom and Fortmann 1988)."""
_GATE_VARIANCES = GATE_DEVIATIONS * GATE_DEVIATIONS
MOST_POINTS = 255
"""The count of points stops there."""

MOST_STRAY_VARIANCES = 9.0
"""What one request counts at most, in variances: its line was wrong, however far."""


LEAST_SECONDS = 0.01
"""No request has run for less: its pace would be 0."""


class LinePrior(NamedTuple):
    """The estimate of a request's line before its first percentage is known."""

    duration: float
    """Seconds: the median, from its start to its end."""
    spread: float
    """The standard deviation of the duration's log."""
    share: float
    """Of the duration, after which progress begins."""
    var_share: float


class ProgressLine(msgspec.Struct, gc=False):
    """What is believed of one request's line: the two means, and their covariances."""

    begun: float
    """When 0 % was, in seconds since the request's clock started."""
    pace: float
    """Seconds per percent; 0 once a point was beyond the gate: the line is given up."""
    var_begun: float
    covariance: float
    var_pace: float
    points: int = 0
    """How many percentages it has seen."""

    @classmethod
    def through(cls, at: float, percentage: float, prior: LinePrior) -> ProgressLine:
        """Return the line after the first percentage of a request.

        The pace is lognormal: its log has the mean m = ln((1 - share)·duration/100). The filter
        wants it linear, so it is replaced by its tangent at the point's own estimate, as in the
        iterated filter (Jazwinski 1970): pace ≈ a·(1 + ln pace - ln a), with the mean a·(1 + m -
        ln a) and the deviation a·spread. ln a lies between m and the naive ln((at - begun)/p), by
        their variances. What is expected is widened until the point is within two deviations.
        """
        begun = prior.share * prior.duration
        var_begun = prior.var_share * prior.duration * prior.duration
        m = log((1 - prior.share) * prior.duration / 100)
        var = prior.spread * prior.spread
        ran = at - begun if 2 * begun < at else at / 2
        if ran < LEAST_SECONDS:
            ran = LEAST_SECONDS
        naive_var = (NOISE_PERCENT / percentage) ** 2 + var_begun / (ran * ran)
        log_a = m + (log(ran / percentage) - m) * var / (var + naive_var)
        a = exp(log_a)
        pace, var_pace = a * (1 + m - log_a), var * a * a
        error = at - begun - percentage * pace
        s = var_begun + percentage * percentage * var_pace + NOISE_VARIANCE
        wider = error * error / (4 * s)
        if wider < 1:
            wider = 1.0
        line = cls(begun, pace, wider * var_begun, 0.0, wider * var_pace)
        line.observe(at, percentage)
        return line

    def observe(self, at: float, percentage: float) -> None:
        """Record a percentage, or give the line up where it is beyond the gate.

        With H = (1, p): S = H·P·Hᵀ + r, the gain is K = P·Hᵀ/S, and P becomes P - K·H·P. The noise
        of a percentage is one of time through the pace: r = (1.2·pace)² + 0.001.
        """
        p, begun, pace = percentage, self.begun, self.pace
        var_begun, covariance, var_pace = self.var_begun, self.covariance, self.var_pace
        hp_begun, hp_pace = var_begun + p * covariance, covariance + p * var_pace
        noise = NOISE_PERCENT * pace
        s = hp_begun + p * hp_pace + noise * noise + NOISE_VARIANCE
        error = at - begun - p * pace
        if self.points < MOST_POINTS:
            self.points += 1
        self.pace = pace + hp_pace * error / s
        if error * error > _GATE_VARIANCES * s or self.pace <= 0:
            self.pace = 0.0
            return
        self.begun = begun + hp_begun * error / s
        self.var_begun = var_begun - hp_begun * hp_begun / s
        self.covariance = covariance - hp_begun * hp_pace / s
        self.var_pace = var_pace - hp_pace * hp_pace / s

    def begun_given(self, end: float, width: float) -> tuple[float, float]:
        """Return when progress began, and the variance, by all points and the real end.

        The end is one more point, of 100 %, which is known to lie within `width` seconds.
        """
        hp_begun = self.var_begun + 100 * self.covariance
        expected, variance = self.end()
        gain = hp_begun / (variance + width * width / 12)
        return self.begun + gain * (end - expected), max(self.var_begun - gain * hp_begun, 0.0)

    @property
    def is_given_up(self) -> bool:
        """Whether a point was beyond the gate."""
        return self.pace == 0

    def end(self) -> tuple[float, float]:
        """Return when 100 % is reached, on the request's clock, and the variance: H = (1, 100)."""
        variance = self.var_begun + 200 * self.covariance + 1e4 * self.var_pace
        if variance < 0:
            variance = 0.0
        return self.begun + 100 * self.pace, variance + NOISE_VARIANCE

    def stray(self, end: float, width: float) -> float:
        """Return how far the real end is from the line's, squared, in variances; at most 9.

        The end is known to lie within `width` seconds, so a uniform's width²/12 is added. The mean
        over requests is 1 where their lines are straight and their variances right.
        """
        if self.is_given_up:
            return MOST_STRAY_VARIANCES
        expected, variance = self.end()
        return min((end - expected) ** 2 / (variance + width * width / 12), MOST_STRAY_VARIANCES)

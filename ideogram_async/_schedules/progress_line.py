"""The straight line through a request's progress: when it began, and how long a percent takes.

A percentage p that was told at the time t is taken as a noisy point of t = begun + p·pace. A Kalman
filter (Kalman 1960) follows the two unknowns; neither changes, so it is recursive least squares
(Plackett 1950) with a prior. Seconds throughout; no clock, no I/O.
"""

from __future__ import annotations

import msgspec

NOISE_PERCENT = 1.2
"""The standard deviation of a told percentage. Captured progress was up to 2 points off a line; a
uniform error of 2 has one of 2/√3 = 1.15."""
NOISE_VARIANCE = 0.001
"""Seconds², of the time at which the gateway reads the state: round trips of 50 to 300 ms."""
GATE_DEVIATIONS = 4.0
"""A point that is further from the line, in standard deviations, is none of a line (the validation
gate of Bar-Shalom and Fortmann 1988)."""

STRAY_MOST = 9.0
"""What one request counts at most, in variances: its line was wrong, however far."""


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
    def expected(
        cls, duration: float, spread: float, share: float, var_share: float
    ) -> ProgressLine:
        """Return the line of a request of which no percentage was told.

        It takes `duration` seconds, ± `spread` of them; it waits for a share of them, ± the root of
        `var_share`, and then runs.
        """
        pace = (1 - share) * duration / 100
        return cls(
            share * duration, pace, var_share * duration * duration, 0.0, (spread * pace) ** 2
        )

    def observe(self, at: float, percentage: float) -> None:
        """Record a percentage, or give the line up where it is beyond the gate.

        With H = (1, p): S = H·P·Hᵀ + r, the gain is K = P·Hᵀ/S, and P becomes P - K·H·P. The noise
        of a percentage is one of time through the pace: r = (1.2·pace)² + 0.001.
        """
        p = percentage
        hp_begun = self.var_begun + p * self.covariance
        hp_pace = self.covariance + p * self.var_pace
        noise = NOISE_PERCENT * self.pace
        s = hp_begun + p * hp_pace + noise * noise + NOISE_VARIANCE
        error = at - self.begun - p * self.pace
        self.points = min(self.points + 1, 255)
        pace = self.pace + hp_pace * error / s
        if error * error > GATE_DEVIATIONS * GATE_DEVIATIONS * s or pace <= 0:
            self.pace = 0.0
            return
        self.begun += hp_begun * error / s
        self.pace = pace
        self.var_begun -= hp_begun * hp_begun / s
        self.covariance -= hp_begun * hp_pace / s
        self.var_pace -= hp_pace * hp_pace / s

    @property
    def is_given_up(self) -> bool:
        """Whether a point was beyond the gate."""
        return self.pace == 0

    def end(self) -> tuple[float, float]:
        """Return when 100 % is reached, on the request's clock, and the variance: H = (1, 100)."""
        variance = self.var_begun + 200 * self.covariance + 1e4 * self.var_pace
        return self.begun + 100 * self.pace, max(variance, 0.0) + NOISE_VARIANCE

    def stray(self, end: float, width: float) -> float:
        """Return how far the real end is from the line's, squared, in variances; at most 9.

        The end is known to lie within `width` seconds, so a uniform's width²/12 is added. The mean
        over requests is 1 where their lines are straight and their variances right.
        """
        if self.is_given_up:
            return STRAY_MOST
        expected, variance = self.end()
        return min((end - expected) ** 2 / (variance + width * width / 12), STRAY_MOST)

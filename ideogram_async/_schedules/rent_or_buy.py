"""The rule of the adaptive schedule: query again once the expected lag is worth a query."""

from __future__ import annotations

import math
from math import erfc, exp, log, sqrt

LONGEST = 30.0
"""Seconds: no delay of the rule is longer."""
_FAR_TAIL = 1e-6
_LEAST_SLOPE = 1e-9
_NEARLY = 0.1  # of the price: another step from there is the last that is worth its own
_ROOT_HALF = sqrt(0.5)
_ROOT_TWO_PI = sqrt(2 * math.pi)


def interval(mu: float, sg: float, w: float, price: float) -> float:
    """Return the smallest d with E[(w + d - R)+ | R > w] = price, for R ~ LN(mu, sg); at most 30 s.

    The rule is rent or buy (Karlin et al. 1988); its result is a checking schedule (Barlow,
    Hunter and Proschan 1963). With Q the upper tail of the normal, z(x) = (ln x - mu)/sg,
    m = exp(mu + sg²/2) and s = w + d, the expectation is, by the lognormal's partial expectation,
    ( s·[Q(z_w) - Q(z_s)] - m·[Q(z_w - sg) - Q(z_s - sg)] ) / Q(z_w). It is convex in s, with the
    slope P(R <= s | R > w), so Newton's method comes down to the root from the right, wherever it
    begins: at Keller's (1974) step at the hazard of w, from where one more is enough, most of the
    time, but no further than E[R | R > w] + price, which is not below the root (Jensen). Far in
    the tail Keller's step is all, at the hazard z_w/(sg·w): the differences would cancel out.
    """
    q_w = t_w = 1.0
    s = math.inf
    if w > 0:
        z_w = (log(w) - mu) / sg
        q_w = 0.5 * erfc(z_w * _ROOT_HALF)
        if q_w < _FAR_TAIL:
            return min(sqrt(2 * price * sg * w / z_w), LONGEST)
        t_w = 0.5 * erfc((z_w - sg) * _ROOT_HALF)
        bell = exp(-0.5 * z_w * z_w)
        if bell > 0:
            s = w + sqrt(2 * price * q_w * _ROOT_TWO_PI * sg * w / bell)
    m = exp(mu + sg * sg / 2)
    most = min(m * t_w / q_w + price, w + LONGEST)
    s = min(s, most)
    for _ in range(16):
        z_s = (log(s) - mu) / sg
        slope = 1 - 0.5 * erfc(z_s * _ROOT_HALF) / q_w
        excess = s * slope - m * (t_w - 0.5 * erfc((z_s - sg) * _ROOT_HALF)) / q_w - price
        if slope < _LEAST_SLOPE or (s == most and excess <= 0):  # the last digits, or the cap
            break
        step = excess / slope
        s = min(s - step, most)
        if abs(excess) < _NEARLY * price:
            break
    return s - w

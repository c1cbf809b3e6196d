"""The rule of the adaptive schedule: query again once the expected lag is worth a query."""

from __future__ import annotations

import math
from math import erfc, exp, log, sqrt

from ideogram_async._schedules.learned import within

LONGEST_DELAY_SECONDS = 30.0
"""Seconds: no delay of the rule is longer."""
_FAR_TAIL_PROBABILITY = 2e-6  # of both tails
_MOST_CHANGE = 0.25  # the density is taken as a polynomial
_U_SQUARED = 5 / 72
_LEAST_SLOPE = 1e-9
_TOLERANCE = 0.1  # of the price: another step from there is the last that is worth its own
_EARLY_DEVIATIONS = -4.5  # deviations, up to which nothing can have completed …
_LEAST_EARLY_PRICE = 1e-3  # … unless a query is worth as little …
_ROUNDED_DEVIATIONS = -30.0  # … and the density is not 0 by rounding
_ROOT_HALF = sqrt(0.5)
_ROOT_TWO_PI = sqrt(2 * math.pi)


def interval(mu: float, sg: float, w: float, price: float) -> float:
    """Return the smallest d with E[(w + d - R)+ | R > w] = price, for R ~ LN(mu, sg); at most 30 s.

    The rule is rent or buy (Karlin et al. 1988); its result is a checking schedule (Barlow, Hunter
    and Proschan 1963). With z = (ln w - mu)/sg, Q the upper tail of the normal, and the density f:

    1. Far in the tail: Keller's (1974) step √(2·price/hazard), at the hazard z/(sg·w).
    2. The density hardly changes within the step: E·Q(z) = f·d²/2 + f'·d³/6 + f''·d⁴/24, solved for
       d by a series around Keller's step; it is off by less than 1 %.
    3. Otherwise: Newton's method.
    """
    if w <= 0:
        return _by_newton(mu, sg, 0.0, price, 0.0, 1.0, 1.0)
    z = (log(w) - mu) / sg
    if z < _EARLY_DEVIATIONS and (price > _LEAST_EARLY_PRICE or z < _ROUNDED_DEVIATIONS):
        return _by_newton(mu, sg, w, price, 0.0, 1.0, 1.0)
    twice_q = erfc(z * _ROOT_HALF)
    if twice_q < _FAR_TAIL_PROBABILITY:
        d = sqrt(2 * price * sg * w / z)
        return d if d < LONGEST_DELAY_SECONDS else LONGEST_DELAY_SECONDS
    d = sqrt(price * twice_q * _ROOT_TWO_PI * sg * w * exp(0.5 * z * z))
    lean, part = 1 + z / sg, d / w
    u = lean * part  # -f'·d/f
    v = u * u + (lean - 1 / (sg * sg)) * part * part  # f''·d²/f
    if u * u < _MOST_CHANGE and -_MOST_CHANGE < v < _MOST_CHANGE:
        d *= 1 + u / 6 + u * u * _U_SQUARED - v / 24
        return d if d < LONGEST_DELAY_SECONDS else LONGEST_DELAY_SECONDS
    return _by_newton(mu, sg, w, price, d, 0.5 * twice_q, 0.5 * erfc((z - sg) * _ROOT_HALF))


def _by_newton(
    mu: float, sg: float, w: float, price: float, step: float, q: float, t: float
) -> float:
    """Solve by Newton's method, from a step on, or from where the loss of a normal is the price.

    With m = exp(mu + sg²/2), s = w + d and z(s) = (ln s - mu)/sg, the expectation is, by the
    lognormal's partial expectation, ( s·[q - Q(z)] - m·[t - Q(z - sg)] ) / q, with q = P(R > w) and
    t = E[R; R > w]/m. It is convex in s, with the slope P(R <= s | R > w), so the method comes down
    to the root from the right, wherever it begins, but no further than E[R | R > w] + price, which
    is not below the root (Jensen).
    """
    m = exp(mu + sg * sg / 2)
    most, longest = m * t / q + price, w + LONGEST_DELAY_SECONDS
    if most > longest:
        most = longest
    s = w + step if step else exp(mu + sg * _standard_look(log(price / sg) - mu, sg))
    if not w < s < most:
        s = most
    for _ in range(16):
        z = (log(s) - mu) / sg
        slope = 1 - 0.5 * erfc(z * _ROOT_HALF) / q
        excess = s * slope - m * (t - 0.5 * erfc((z - sg) * _ROOT_HALF)) / q - price
        if slope < _LEAST_SLOPE or (s == most and excess <= 0):  # the last digits, or the cap
            break
        s -= excess / slope
        if s > most:
            s = most
        if -_TOLERANCE * price < excess < _TOLERANCE * price:
            break
    return s - w


_LOSSES_FROM, _LOSSES_STEP, _LOSSES = -12.0, 0.25, 64


def _inverse_losses() -> list[float]:
    """Return z with E[(z - Z)+] = loss, for a standard normal Z, by the log of the loss.

    From the greatest down: each is Newton's method from the one before, which is to the right.
    """
    found = []
    z = exp(_LOSSES_FROM + _LOSSES_STEP * _LOSSES)
    for i in range(_LOSSES, -1, -1):
        loss = exp(_LOSSES_FROM + _LOSSES_STEP * i)
        for _ in range(4):
            below = 0.5 * erfc(-z * _ROOT_HALF)
            z -= (z * below + exp(-z * z / 2) / _ROOT_TWO_PI - loss) / below
        found.append(z)
    return found[::-1]


_INVERSE_LOSSES = _inverse_losses()


def _standard_look(x: float, sg: float) -> float:
    """Return about z(s), where nothing can have completed, and x is the log of price/(sg·exp(mu)).

    A lognormal's unit grows with s: x is lessened by what a first look-up gives of it.
    """
    at = within(0.0, (x - _LOSSES_FROM) / _LOSSES_STEP, _LOSSES - 1.0)
    i = int(at)
    z = _INVERSE_LOSSES[i] + (at - i) * (_INVERSE_LOSSES[i + 1] - _INVERSE_LOSSES[i])
    at = within(0.0, at - sg * (z - 0.35) / _LOSSES_STEP, _LOSSES - 1.0)
    i = int(at)
    return _INVERSE_LOSSES[i] + (at - i) * (_INVERSE_LOSSES[i + 1] - _INVERSE_LOSSES[i])

"""Why a delay came out as it did, in words."""

from __future__ import annotations

from math import exp

from ideogram_async._schedules.request_state import CROOKED, LINE, NOTHING, PROGRESS, RequestState


def explained(job: RequestState) -> str:
    """Return what the last delay of a request was made from; seconds count from its last query.

    1. It was never queried, and its age is not known.
    2. The line through its percentages: the end, ± a standard deviation.
    3. Its last percentage: the median of the end, and the deviations before and after it.
    4. How long requests take: the same, of the whole duration.
    """
    median, spread = exp(job.log_median), exp(job.deviation)
    left = job.counted_from + median - job.last_asked
    if job.basis == NOTHING:
        return "not queried yet: the first query is due at once"
    if job.basis == LINE:
        seconds = f"{abs(left):.1f} ± {median * job.deviation:.1f} s"
        end = f"end expected in {seconds}" if left >= 0 else f"end was expected {seconds} ago"
        words = f"linear, {job.percentage:g} %, {end}"
    elif job.basis in {PROGRESS, CROOKED}:
        sooner, later = left - median * (1 - 1 / spread), left + median * (spread - 1)
        end = f"end expected in {left:.1f} s ({sooner:.1f} to {later:.1f})"
        words = f"not linear, {job.percentage:g} %, {end}"
    else:
        words = (
            f"{job.last_asked:.1f} s old, of {median:.1f} s"
            f" ({median / spread:.1f} to {median * spread:.1f}) that such requests take"
        )
    return f"{words}, next query in {job.delay:.1f} s"

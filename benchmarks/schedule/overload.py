"""What can be saved under overload without progress: `python -m benchmarks.overload`.

The Barlow-Proschan bound for workload E, if the policy knew the law of each job at its submission:
a queue whose mean is the overload's at that moment. At the same mean lag, by the queries of the
best fixed interval. 2,500 jobs are submitted while the queue is long: hardly a wait is known.
"""

from __future__ import annotations

from benchmarks._report import argument_parser
from benchmarks.schedule.simulation import Curve, always, poll_blindly, waiting_bound
from benchmarks.schedule.workloads import overload_queue, workload

JOBS, PARTS = 2500, 6
PRICES = (0.02, 0.05, 0.1, 0.2)
INTERVALS = (0.35, 0.7, 1.4, 2.8, 5.6)
LAGS = (1.0, 1.4, 2.0)


def main() -> None:
    """Print the ratio at each lag, for each seed."""
    parser = argument_parser(__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103, 104])
    arguments = parser.parse_args()
    queues = [overload_queue(1000 + JOBS * (i + 0.5) / PARTS) for i in range(PARTS)]
    bound = Curve(waiting_bound("B", queues, price) for price in PRICES)
    for seed in arguments.seeds:
        work = workload("E", seed, JOBS)
        fixed = Curve(poll_blindly(work, always(d)).point for d in INTERVALS)
        ratios = (f"{bound.polls(lag) / fixed.polls(lag):.2f} at {lag:g} s" for lag in LAGS)
        print(f"seed {seed}: x the best fixed interval's queries: {' · '.join(ratios)}")


if __name__ == "__main__":
    main()

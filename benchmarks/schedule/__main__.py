"""Queries against lag, for each schedule: `python -m benchmarks.schedule`."""

from benchmarks.schedule.curves import main

if __name__ == "__main__":
    main()

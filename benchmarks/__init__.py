"""What is claimed of speed and of the schedule, measured: each module runs with `python -m`."""

"""The bench of the room `_limits`: `python -m benchmarks.limits`."""

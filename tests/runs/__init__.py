"""Tests of the room `_runs`."""

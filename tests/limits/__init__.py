"""Tests of the room `_limits`."""

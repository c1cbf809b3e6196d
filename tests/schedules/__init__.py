"""Tests of the room `_schedules`."""

"""Tests of the room `_transport`."""

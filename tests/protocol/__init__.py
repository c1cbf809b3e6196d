"""Tests of the room `_protocol`."""

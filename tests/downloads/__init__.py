"""Tests of the room `_downloads`."""

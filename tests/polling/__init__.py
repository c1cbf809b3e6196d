"""Tests of the room `_polling`."""

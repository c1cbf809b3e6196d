"""Tests of the room `redis`, with a real Redis server, in real time."""

"""Tests of the room `_fleet`, in virtual time; those of `redis` have a real server."""

"""Tests of the repository: its structure, README, types and benchmarks."""

"""Whose fault is a fault? Scenes in which sick ids, keys and gateways must not cost sound ids.

Run all with `python -m benchmarks.faults`. Each module holds one group of scenes: a scene is a
function that plays one story for a seed, in virtual time, and returns its figures with their goals.
"""

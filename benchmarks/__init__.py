"""The benchmarks: what the project claims of its cost and of its behaviour, measured.

A folder holds one subject. A module that measures runs by its own name: `python -m
benchmarks.throughput` runs `speed/throughput.py`, and `python -m benchmarks.soak` runs
`soak/__main__.py`.
"""

from pathlib import Path

FOLDERS = ("cli", "limits", "schedule", "soak", "speed")
__path__ += [str(Path(__file__).with_name(folder)) for folder in FOLDERS]

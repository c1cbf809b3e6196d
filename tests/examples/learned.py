"""What the schedule has learned outlives a restart."""

from pathlib import Path

import msgspec

from ideogram_async import AdaptiveSchedule, IdeogramClient, Learned


def client_that_remembers(base_url: str, file: Path) -> tuple[IdeogramClient, AdaptiveSchedule]:
    """Make a client that starts with what an earlier one has learned."""
    learned = msgspec.json.decode(file.read_bytes(), type=Learned) if file.exists() else None
    schedule = AdaptiveSchedule(learned=learned)
    return IdeogramClient(base_url, schedule=schedule), schedule


def remember(schedule: AdaptiveSchedule, file: Path) -> None:
    """Keep what it has learned, for the next start."""
    file.write_bytes(msgspec.json.encode(schedule.save()))

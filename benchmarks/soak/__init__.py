"""Random faults at load, in real time."""

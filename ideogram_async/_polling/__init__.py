"""Which id is asked next, and what an answer means for it."""

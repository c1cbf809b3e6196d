"""The fault matrix: one row for each fault, over real HTTP."""

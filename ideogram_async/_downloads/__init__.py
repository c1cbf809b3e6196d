"""Images on disk: how they are fetched, checked and saved."""

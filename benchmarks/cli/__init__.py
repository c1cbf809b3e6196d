"""What the command line costs, and what a kill leaves behind."""

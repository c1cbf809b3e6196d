"""When to ask next. No I/O, no clock."""

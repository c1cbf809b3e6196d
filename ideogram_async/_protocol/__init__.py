"""Bytes to meaning and back: queries, answers, headers, keys. No I/O."""

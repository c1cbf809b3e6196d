"""When a key may send: its rate, its health, and which session is chosen. No I/O."""

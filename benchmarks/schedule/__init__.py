"""How many queries a schedule and the rate limiter need, and how late results come."""

"""Knows what CloudWatch Logs decides: names, limits, filter patterns, chunks, tokens. Does not know a clock, a database or a request."""

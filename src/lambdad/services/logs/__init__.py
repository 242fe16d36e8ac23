"""Knows CloudWatch Logs: groups, streams, events. Does not know who writes them."""

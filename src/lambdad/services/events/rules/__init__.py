"""Knows what EventBridge decides: names, limits, what events look like, what targets are sent. Does not know rows, time or neighbours."""

"""Knows what Lambda's control plane decides, as pure functions on values. Does not know storage, time or asyncio."""

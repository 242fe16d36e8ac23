"""Knows what Scheduler decides: when a schedule is due, what its target is called with. Does not know rows, time or neighbours."""

"""Knows decisions, as pure functions from state and event to state and commands. Does not know time, randomness or I/O."""

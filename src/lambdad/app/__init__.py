"""Knows every concrete class, and plugs them together into the two processes. Does not know how to do anything itself."""

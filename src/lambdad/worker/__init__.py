"""Knows one execution environment's life: Runtime API, output, limits, freeze. Does not know functions' records or accounts' limits."""

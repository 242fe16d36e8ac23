"""Knows Lambda's nouns as values: ARNs, functions, invocations, errors, limits. Does not know I/O, time or storage."""

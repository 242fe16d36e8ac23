"""Knows the hot path: who may run, which environment serves, how an invocation ends. Does not know storage, HTTP or Linux."""

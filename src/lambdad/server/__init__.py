"""Knows sockets, HTTP, signatures and which service a request is for. Does not know what any service does."""

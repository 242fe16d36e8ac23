"""Knows how events come from sources to functions: receive, filter, batch, invoke, settle. Does not know SQL, HTTP or AWS's API."""

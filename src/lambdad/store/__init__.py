"""Knows databases, transactions, migrations and blobs. Does not know what the rows mean."""

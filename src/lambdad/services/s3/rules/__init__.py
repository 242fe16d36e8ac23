"""Knows what S3 decides: names, ranges, conditions, checksums, lists, events. Pure: knows no database, file or clock."""

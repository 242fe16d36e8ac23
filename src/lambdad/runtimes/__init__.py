"""Knows what runs inside an environment, per language, and how interpreters are found. Does not know sandboxes or AWS's API."""

"""Holds one folder per AWS service, independent of one another. Knows nothing itself."""

"""Decides what SNS decides: pure functions of values. Knows no clock, no database and no network."""

"""The decisions of the outbox: retries, turns, dead letters. Knows values; knows no clock, no database and no neighbour."""

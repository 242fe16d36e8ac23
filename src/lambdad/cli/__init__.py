"""Knows the command line. Talks HTTP like any client, and opens no store."""

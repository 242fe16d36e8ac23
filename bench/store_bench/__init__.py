"""The table that the bench writes to."""

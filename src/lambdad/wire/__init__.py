"""Knows bytes and typed values of AWS's wire protocols, and the frames of the worker. Does not know sockets, time or services."""

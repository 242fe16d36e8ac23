"""Knows bytes and typed values of AWS's wire protocols, and the frames between server and worker. Does not know sockets, time or what a service does."""

"""Knows S3: buckets, objects and their versions, uploads in parts, and who is told of them. Does not know HTTP, nor any other service."""

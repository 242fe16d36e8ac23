"""Knows AWS Lambda's resources and operations. Does not know HTTP, sandboxes or any other service."""

"""Measurements. Each prints figures with their spread and judges nothing; promises are in SPECIFICATION.md."""

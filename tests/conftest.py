"""Fixtures that all layers share, one plugin file for each kind of thing."""

pytest_plugins = ["fixtures_postgres"]

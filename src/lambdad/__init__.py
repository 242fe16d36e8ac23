"""AWS Lambda on your own machines: AWS's own API over HTTP, functions run for real in Linux sandboxes."""

__version__ = "0.1.0"

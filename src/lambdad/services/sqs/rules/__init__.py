"""Knows what SQS decides: names, attributes, messages, handles, which message is next. Does not know a clock, a database or a request."""

"""Knows SNS: topics, subscriptions, messages and what becomes of them. Does not know the services that it delivers to."""

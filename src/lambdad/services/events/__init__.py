"""Knows EventBridge: buses, rules and targets, events put and scheduled, archives and replays. Does not know the services of targets."""

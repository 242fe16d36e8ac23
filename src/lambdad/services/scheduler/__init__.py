"""Knows EventBridge Scheduler: schedules and their groups, and what they start. Does not know the services of targets."""

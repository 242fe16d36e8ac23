"""Scheduler's quotas and ranges. They are AWS's, so they are constants and not settings.

Source: EventBridge Scheduler user guide, "Quotas for Amazon EventBridge Scheduler"; API Reference.
"""

from typing import Final

SCHEDULES: Final = 1_000_000  # per account and region
GROUPS: Final = 500
TAGS: Final = 50
PAGE_ITEMS: Final = 100
INPUT_BYTES: Final = 262_144

RETRY_ATTEMPTS: Final = 185
EVENT_AGE_S: Final = 86_400

START_MS: Final = 300_000  # how far back StartDate may be
ONCE_MS: Final = 60_000  # how late a single time may be given and still be met
LATE_MS: Final = 60_000  # how late a time may be done before it counts as missed

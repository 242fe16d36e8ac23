"""CloudWatch Logs' quotas and ranges. They are AWS's, so they are constants and not settings.

Source: CloudWatch Logs API Reference (PutLogEvents, GetLogEvents, FilterLogEvents, PutRetentionPolicy, CreateLogGroup).
"""

from typing import Final

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000

# --- one PutLogEvents
EVENT_OVERHEAD_BYTES: Final = 26  # counted for each event in addition to its message
EVENT_BYTES: Final = 1_048_576  # with the overhead; 262,144 before 2025
BATCH_BYTES: Final = 1_048_576
BATCH_SPAN_MS: Final = 24 * HOUR_MS
OLDEST_MS: Final = 14 * DAY_MS
NEWEST_MS: Final = 2 * HOUR_MS

# --- one page of an answer
PAGE_EVENTS: Final = 10_000
PAGE_BYTES: Final = 1_048_576
PAGE_ITEMS: Final = 50  # groups, streams

# --- resources
GROUPS: Final = 1_000_000  # per account and region
TAGS: Final = 50  # per group
SUBSCRIPTION_FILTERS: Final = 2  # per group
METRIC_FILTERS: Final = 100  # per group
METRIC_DIMENSIONS: Final = 3  # per metric filter
RESOURCE_POLICIES: Final = 10  # per account and region
RESOURCE_POLICY_CHARACTERS: Final = 5120
DELIVERY_MAX_S: Final = 24 * 3600  # for how long a delivery to a subscriber is tried
RETENTION_DAYS: Final = (
    *(1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545),
    *(731, 1096, 1827, 2192, 2557, 2922, 3288, 3653),
)

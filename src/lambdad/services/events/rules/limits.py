"""EventBridge's quotas and ranges. They are AWS's, so they are constants and not settings.

Source: EventBridge user guide, "Amazon EventBridge quotas", "Calculating PutEvents event entry size"; EventBridge API Reference.
"""

from typing import Final

BUSES: Final = 100  # per account and region
RULES: Final = 300  # per bus
TARGETS: Final = 5  # per rule
TAGS: Final = 50
ARCHIVES: Final = 100
POLICY_BYTES: Final = 10_240
PAGE_ITEMS: Final = 100

REQUEST_BYTES: Final = 1_048_576  # of all entries of a PutEvents; 262,144 before 2026
ENTRY_TIME_BYTES: Final = 14
DETAIL_DEPTH: Final = 1000

RETRY_ATTEMPTS: Final = 185
EVENT_AGE_S: Final = 86_400

"""SNS's quotas and ranges. They are AWS's, so they are constants and not settings.

Source: SNS API Reference (CreateTopic, Subscribe, Publish, PublishBatch), SNS endpoints and quotas, SNS Developer Guide.
"""

from typing import Final

# --- messages
MESSAGE_BYTES: Final = 262_144  # body and attributes together, unless the topic says otherwise
MESSAGE_BYTES_RANGE: Final = (1024, 1_048_576)  # of MaximumMessageSize
SUBJECT_CHARACTERS: Final = 100
BATCH_ENTRIES: Final = 10
ATTRIBUTES_OF_RAW_SQS: Final = 10

# --- FIFO topics
DEDUPLICATION_MS: Final = 5 * 60 * 1000
FIRST_SEQUENCE_NUMBER: Final = 10_000_000_000_000_000_000  # sequence numbers have twenty digits

# --- subscriptions
TOKEN_LIVES_MS: Final = 48 * 3600 * 1000
FILTER_POLICIES: Final = 200  # per topic
SUBSCRIPTIONS: Final = 12_500_000  # per standard topic
SUBSCRIPTIONS_FIFO: Final = 100  # per FIFO topic
SUBSCRIPTIONS_LARGE: Final = 100  # per topic whose messages may be larger than MESSAGE_BYTES

# --- topics
TOPICS: Final = 100_000  # per account and region
TOPICS_FIFO: Final = 1000
TAGS: Final = 50
POLICY_BYTES: Final = 30_720
DISPLAY_NAME_CHARACTERS: Final = 100

PAGE_ITEMS: Final = 100

# --- deliveries to Lambda and SQS: 3 at once, 2 a second apart, 10 from 1 to 20 seconds apart, 100,000 20 seconds apart
MANAGED_ATTEMPTS: Final = 100_015
MANAGED_AGE_S: Final = 24 * 24 * 3600  # the attempts take 23 days
MANAGED_DELAYS_MS: Final = (
    *(0, 0, 0),
    *(1000, 1000),
    *(1000, 1395, 1946, 2714, 3786, 5282, 7368, 10278, 14338, 20000),
    20000,
)

# --- deliveries by HTTP
HTTP_AGE_S: Final = 3600
HTTP_RETRIES: Final = 100
HTTP_DELAY_S: Final = 3600

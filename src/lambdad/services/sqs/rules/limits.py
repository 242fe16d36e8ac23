"""SQS's quotas and ranges. They are AWS's, so they are constants and not settings; what is lambdad's own is at the end.

Source: SQS API Reference (SetQueueAttributes, SendMessage, ReceiveMessage, ChangeMessageVisibility), SQS quotas.
"""

from typing import Final

# --- messages
MESSAGE_BYTES: Final = 1_048_576  # with attributes; 262,144 before 2025. A batch may have as many together
MESSAGE_ATTRIBUTES: Final = 10
ATTRIBUTE_NAME_CHARACTERS: Final = 256
BATCH_ENTRIES: Final = 10
DELAY_S: Final = 900

# --- receiving
RECEIVE_MESSAGES: Final = 10
WAIT_S: Final = 20
VISIBILITY_S: Final = 43_200
IN_FLIGHT: Final = 120_000  # a queue; FIFO queues had 20,000 until 2024
DEDUPLICATION_MS: Final = 300_000  # of sends by id or content, and of receives by attempt id
RECEIVES_BEFORE_DEAD: Final = 1_000  # the largest maxReceiveCount

# --- queues
PURGE_INTERVAL_MS: Final = 60_000
DELETED_RECENTLY_MS: Final = 60_000
PAGE_ITEMS: Final = 1_000
TAGS: Final = 50
POLICY_STATEMENTS: Final = 20
POLICY_ACTIONS: Final = 7

# --- message move tasks
MOVES_PER_S: Final = 500
TASKS_SHOWN: Final = 10

# --- lambdad's own
WINDOW: Final = 20_000
"""Messages of a queue that wait in memory, and twice as many delayed ones; further ones are rows only, and read when their turn comes.
A FIFO queue looks no further for groups that are not locked."""

CACHE_BYTES: Final = 64 * 1024 * 1024
"""Messages that no one has received yet, of all queues together, are kept in memory up to this; of others only what decides."""

ATTEMPTS: Final = 1_000
"""ReceiveRequestAttemptIds that a queue remembers; beyond, the oldest is forgotten."""

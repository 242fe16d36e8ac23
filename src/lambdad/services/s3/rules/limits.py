"""S3's limits. Source: S3 User Guide, "Multipart upload limits", "Bucket quotas"; S3 API Reference."""

from typing import Final

KEY_BYTES: Final = 1024
METADATA_BYTES: Final = 2048
PUT_BYTES: Final = 5 * 1024**3
OBJECT_BYTES: Final = 5 * 1024**4
PART_BYTES_MIN: Final = 5 * 1024**2
PARTS: Final = 10_000
PAGE: Final = 1000
DELETED_AT_ONCE: Final = 1000
OBJECT_TAGS: Final = 10
BUCKET_TAGS: Final = 50
POLICY_BYTES: Final = 20 * 1024
NOTIFICATIONS: Final = 100
CORS_RULES: Final = 100
LIFECYCLE_RULES: Final = 1000
BUCKETS_PAGE: Final = 10_000

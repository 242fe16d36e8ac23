"""AWS Lambda's quotas and ranges. They are AWS's, so they are constants and not settings.

Source: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html and the Lambda API Reference.
"""

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

# --- a function's configuration
FUNCTION_NAME_LENGTH = 64
TIMEOUT_DEFAULT_S = 3
TIMEOUT_MAX_S = 900
MEMORY_DEFAULT_MIB = 128
MEMORY_MIN_MIB = 128
MEMORY_MAX_MIB = 10_240
EPHEMERAL_STORAGE_DEFAULT_MIB = 512
EPHEMERAL_STORAGE_MIN_MIB = 512
EPHEMERAL_STORAGE_MAX_MIB = 10_240
ENVIRONMENT_BYTES = 4 * KIB  # of the compact JSON object
LAYERS_PER_FUNCTION = 5
TAGS_PER_RESOURCE = 50
ADDITIONAL_VERSIONS_PER_ALIAS = 1
POLICY_BYTES = 20_480

# --- code
ZIPPED_BYTES = 52_428_800  # uploaded in the request
UNZIPPED_BYTES = 262_144_000  # function and layers together
CODE_STORAGE_BYTES = 300 * GIB  # per account and region; 75 GiB before 2026
CODE_LINK_S = 600  # how long Code.Location may be fetched

# --- invocation
SYNC_PAYLOAD_BYTES = 6 * MIB
ASYNC_PAYLOAD_BYTES = 1 * MIB
RESPONSE_PAYLOAD_BYTES = 6 * MIB + 100
LOG_TAIL_BYTES = 4 * KIB
CLIENT_CONTEXT_BYTES = 3583

# --- concurrency, per account and region
CONCURRENT_EXECUTIONS = 1000
UNRESERVED_CONCURRENT_EXECUTIONS_MIN = 100
REQUESTS_PER_S_PER_CONCURRENCY = 10
SCALING_ENVIRONMENTS_PER_10_S = 1000

# --- paging
PAGE_ITEMS = 50
MAPPING_PAGE_ITEMS = 100

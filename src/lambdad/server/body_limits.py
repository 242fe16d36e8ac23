"""Caps on request bodies that AWS's front ends check before they read them.

Source: Lambda quotas; texts as the service prints them.
"""

from collections.abc import Mapping

from lambdad.model.errors import AwsError

SYNC_INVOKE_BYTES = 6_291_456
ASYNC_INVOKE_BYTES = 1_048_576

# Operation to (bytes, its name in the message).
_LAMBDA: Mapping[str, tuple[int, str]] = {
    "CreateFunction": (70_167_211, "CreateFunction"),
    "UpdateFunctionCode": (70_167_211, "UpdateFunctionCode"),
    "PublishLayerVersion": (70_167_211, "PublishLayerVersion"),
    "UpdateFunctionConfiguration": (5_120, "UpdateFunctionConfiguration"),
    "Invoke": (SYNC_INVOKE_BYTES, "InvokeFunction"),
    "InvokeAsync": (ASYNC_INVOKE_BYTES, "InvokeAsync"),
    "InvokeWithResponseStream": (SYNC_INVOKE_BYTES, "InvokeWithResponseStream"),
}


def check(service: str, operation: str, headers: Mapping[str, str], size_bytes: int, *, is_cut: bool = False) -> None:
    """
    Refuse a body that the operation's front end does not take.

    Args:
        is_cut: the body was too large for any operation and has been thrown away; `size_bytes` is then of no account.

    Raises:
        AwsError: RequestEntityTooLargeException, 413; EntityTooLarge for S3.
    """
    if is_cut and service == "s3":
        raise AwsError("EntityTooLarge", "Your proposed upload exceeds the maximum allowed size")
    if not is_cut and (service != "lambda" or size_bytes <= 5_120):
        return
    limit_bytes, name = _LAMBDA.get(operation, (SYNC_INVOKE_BYTES, operation))
    if operation == "Invoke" and headers.get("x-amz-invocation-type") == "Event":
        limit_bytes = ASYNC_INVOKE_BYTES
    if is_cut or size_bytes > limit_bytes:
        message = f"Request must be smaller than {limit_bytes} bytes for the {name} operation"
        raise AwsError("RequestEntityTooLargeException", message, status=413)

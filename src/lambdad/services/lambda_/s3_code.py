"""Code and layers that callers have put into S3: fetched piece by piece when a request names them.

Source: Lambda API Reference, FunctionCode and LayerVersionContentInput.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Any

from lambdad.model import limits
from lambdad.model.errors import AwsError
from lambdad.services.lambda_ import errors
from lambdad.services.ports import CallContext, Neighbours, Origin

_NO_REGION = "us-east-1"  # GetBucketLocation says nothing of it
_SERVER_ERROR = 500


class S3Code:
    """Objects of S3, as zips."""

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours

    async def fetch(self, context: CallContext, source: Mapping[str, Any]) -> AsyncIterator[bytes]:
        """
        Give an object, piece by piece.

        Args:
            context: of whoever deploys; the object is read on his behalf.
            source: ``{"S3Bucket": "b", "S3Key": "k", "S3ObjectVersion": "..."}``, the version only where one is meant.

        Raises:
            InvalidParameterValue: S3 does not give the object, the bucket is in another region, or it is larger than a function may be.
            AwsError: S3 fails, or is not there.
        """
        origin = Origin(account=context.account, region=context.region, trace_id=context.trace_id)
        params = {"Bucket": source["S3Bucket"], "Key": source["S3Key"]}
        if source.get("S3ObjectVersion"):
            params["VersionId"] = source["S3ObjectVersion"]
        location = await self._call(origin, "GetBucketLocation", {"Bucket": source["S3Bucket"]})
        region = location.get("LocationConstraint") or _NO_REGION
        if region != origin.region:
            where = f"The bucket is in this region: {region}. Please use this region to retry the request"
            raise _get_object_failed("PermanentRedirect", where)
        async for piece in _bounded((await self._call(origin, "GetObject", params))["Body"]):
            yield piece

    async def _call(self, origin: Origin, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return await self._neighbours.call(origin, "s3", operation, params)
        except AwsError as refused:
            if refused.status >= _SERVER_ERROR:
                raise
            raise _get_object_failed(refused.code, refused.message) from refused


async def _bounded(body: bytes | AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    if isinstance(body, bytes):
        body = _one(body)
    size_bytes = 0
    try:
        async for piece in body:
            size_bytes += len(piece)
            # What is zipped is hardly ever larger than what comes out of it.
            if size_bytes > limits.UNZIPPED_BYTES:
                raise errors.InvalidParameterValue(f"Unzipped size must be smaller than {limits.UNZIPPED_BYTES} bytes")
            yield piece
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()  # lets go of the object's file now, and not when the garbage collector comes


async def _one(whole: bytes) -> AsyncIterator[bytes]:
    yield whole


def _get_object_failed(code: str, message: str | None) -> errors.InvalidParameterValue:
    return errors.InvalidParameterValue(f"Error occurred while GetObject. S3 Error Code: {code}. S3 Error Message: {message}")

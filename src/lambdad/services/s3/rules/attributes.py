"""What is kept with an object beside its bytes: content headers, user metadata, storage class; read from a request, written to an answer.

An object's attributes are a dict of JSON values, keyed as in the service model, e.g.
{"ContentType": "text/plain", "CacheControl": "no-store", "Metadata": {"k": "v"}, "StorageClass": "STANDARD_IA"}.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

DEFAULT_TYPE: Final = "binary/octet-stream"
STANDARD: Final = "STANDARD"
_TEXTS: Final = ("CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage", "ContentType")
_STORAGE_CLASSES: Final = frozenset({STANDARD, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"})
_ACLS: Final = frozenset(
    {"private", "public-read", "public-read-write", "authenticated-read", "aws-exec-read", "bucket-owner-read", "bucket-owner-full-control"}
)

_REFUSED: Final = {
    "SSECustomerAlgorithm": "x-amz-server-side-encryption-customer-algorithm",
    "SSECustomerKey": "x-amz-server-side-encryption-customer-key",
    "CopySourceSSECustomerAlgorithm": "x-amz-copy-source-server-side-encryption-customer-algorithm",
    "SSEKMSKeyId": "x-amz-server-side-encryption-aws-kms-key-id",
    "SSEKMSEncryptionContext": "x-amz-server-side-encryption-context",
    "GrantFullControl": "x-amz-grant-full-control",
    "GrantRead": "x-amz-grant-read",
    "GrantReadACP": "x-amz-grant-read-acp",
    "GrantWrite": "x-amz-grant-write",
    "GrantWriteACP": "x-amz-grant-write-acp",
    "WriteOffsetBytes": "x-amz-write-offset-bytes",
    "AnnotationDirective": "x-amz-object-annotation-directive",
}
_LOCKS: Final = (
    "ObjectLockMode",
    "ObjectLockRetainUntilDate",
    "ObjectLockLegalHoldStatus",
    "ObjectLockEventHold",
    "ObjectLockEventHoldDurationDays",
    "ObjectLockEventHoldDurationYears",
)


def check_supported(params: Mapping[str, Any]) -> None:
    """
    Refuse what is not built, rather than pretend.

    Raises:
        NotImplementedForm: encryption with keys, ACLs by grants.
        InvalidRequest: object lock, which no bucket here has.
    """
    for member, header in _REFUSED.items():
        if params.get(member) is not None:
            raise errors.NotImplementedForm(header)
    if params.get("ServerSideEncryption") not in (None, "AES256"):
        raise errors.NotImplementedForm("x-amz-server-side-encryption")
    if params.get("BucketKeyEnabled"):
        raise errors.NotImplementedForm("x-amz-server-side-encryption-bucket-key-enabled")
    for member in _LOCKS:
        if params.get(member) is not None:
            raise errors.InvalidRequest("Bucket is missing Object Lock Configuration")


def of_request(params: Mapping[str, Any]) -> dict[str, Any]:
    """
    Read an object's attributes from a request that makes it.

    Raises:
        InvalidStorageClass, MetadataTooLarge, InvalidArgument: a value is not taken.
    """
    check_supported(params)
    found: dict[str, Any] = {name: params[name] for name in _TEXTS if params.get(name)}
    found.setdefault("ContentType", DEFAULT_TYPE)
    if params.get("Expires") is not None:
        found["Expires"] = int(params["Expires"].timestamp())
    if params.get("WebsiteRedirectLocation"):
        found["WebsiteRedirectLocation"] = _redirect(params["WebsiteRedirectLocation"])
    storage_class = params.get("StorageClass") or STANDARD
    if storage_class not in _STORAGE_CLASSES:
        raise errors.InvalidStorageClass(storage_class)
    if storage_class != STANDARD:
        found["StorageClass"] = storage_class
    metadata = {key.lower(): value for key, value in (params.get("Metadata") or {}).items()}
    size_bytes = sum(len(key.encode()) + len(value.encode()) for key, value in metadata.items())
    if size_bytes > limits.METADATA_BYTES:
        raise errors.MetadataTooLarge(size_bytes, limits.METADATA_BYTES)
    if metadata:
        found["Metadata"] = metadata
    if params.get("ACL"):
        found["ACL"] = canned_acl(params["ACL"])
    return found


def canned_acl(name: str) -> str:
    """
    Return the name of a canned ACL.

    Raises:
        InvalidArgument: there is none of that name.
    """
    if name not in _ACLS:
        raise errors.InvalidArgument("The canned ACL is not one of S3's.", "x-amz-acl", name)
    return name


def _redirect(location: str) -> str:
    if not location.startswith(("/", "http://", "https://")) or len(location) > 2048:
        raise errors.InvalidArgument(
            "The website redirect location must have a prefix of 'http://' or 'https://' or '/'.", "RedirectLocation", location
        )
    return location


def to_answer(attributes: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """Write attributes as the members of a GetObject or HeadObject answer, with what the request overrides."""
    answer: dict[str, Any] = {name: attributes[name] for name in _TEXTS if name in attributes}
    answer["Metadata"] = attributes.get("Metadata", {})
    if "Expires" in attributes:
        answer["Expires"] = datetime.fromtimestamp(attributes["Expires"], UTC)
    for name in ("WebsiteRedirectLocation", "StorageClass"):
        if name in attributes:
            answer[name] = attributes[name]
    for name in (*_TEXTS, "Expires"):
        override = params.get(f"Response{name}")
        if override is not None:
            answer[name] = override
    return answer

"""What callers of S3 are told, in AWS's words.

AwsError
└── S3Error                     whatever the service refuses; `members` are further elements of the answer
    ├── InvalidArgument         a value that S3 does not take, with its name and the value itself
    ├── InvalidRequest          what was asked for makes no sense as a whole
    ├── NotImplementedForm      a header or element that AWS has and lambdad has not (501)
    ├── MalformedXml, MalformedPolicy, MalformedPost
    ├── InvalidBucketName, BucketExists, BucketOwned, BucketNotEmpty, NoSuchBucket, AccessDenied
    ├── NoSuchKey, NoSuchVersion, NoSuchUpload, MethodNotAllowed, KeyTooLong
    ├── PreconditionFailed, NotModified, ConditionalConflict
    ├── InvalidRange, InvalidPartNumber
    ├── BadDigest, InvalidDigest, IncompleteBody
    ├── InvalidPart, InvalidPartOrder, PartTooSmall, EntityTooLarge
    ├── InvalidTag, MetadataTooLarge, InvalidStorageClass, AclsNotSupported
    └── NotConfigured           a bucket has no such configuration; the code says which
"""

from typing import Any

from lambdad.model.errors import AwsError


class S3Error(AwsError):
    """Whatever the service refuses."""

    def __init__(self, code: str, message: str, *, status: int = 400, **members: Any) -> None:
        super().__init__(code, message, status=status, members=members)


class InvalidArgument(S3Error):
    """A value that S3 does not take."""

    def __init__(self, message: str, name: str = "", value: object = None, **members: Any) -> None:
        named: dict[str, Any] = {"ArgumentName": name, "ArgumentValue": value} if name else {}
        super().__init__("InvalidArgument", message, **named, **members)


class InvalidRequest(S3Error):
    """What was asked for makes no sense as a whole."""

    def __init__(self, message: str) -> None:
        super().__init__("InvalidRequest", message)


class NotImplementedForm(S3Error):
    """A header or an element that AWS has and lambdad has not."""

    def __init__(self, name: str, additional: str = "") -> None:
        super().__init__(
            "NotImplemented",
            "A header you provided implies functionality that is not implemented",
            status=501,
            Header=name,
            additionalMessage=additional or None,
        )


class MalformedXml(S3Error):
    """The document is not what the operation takes."""

    def __init__(self) -> None:
        super().__init__("MalformedXML", "The XML you provided was not well-formed or did not validate against our published schema")


class MalformedPolicy(S3Error):
    """The bucket policy cannot be read."""

    def __init__(self, message: str) -> None:
        super().__init__("MalformedPolicy", message)


class MalformedPost(S3Error):
    """The body of a browser's POST is no form."""

    def __init__(self) -> None:
        super().__init__("MalformedPOSTRequest", "The body of your POST request is not well-formed multipart/form-data.")


class InvalidBucketName(S3Error):
    """No bucket can have that name."""

    def __init__(self, name: str) -> None:
        super().__init__("InvalidBucketName", "The specified bucket is not valid.", BucketName=name)


class BucketExists(S3Error):
    """Another account has a bucket of that name."""

    def __init__(self, name: str) -> None:
        message = (
            "The requested bucket name is not available. The bucket namespace is shared by all users of the system. "
            "Please select a different name and try again."
        )
        super().__init__("BucketAlreadyExists", message, status=409, BucketName=name)


class BucketOwned(S3Error):
    """The caller has the bucket already."""

    def __init__(self, name: str) -> None:
        message = "Your previous request to create the named bucket succeeded and you already own it."
        super().__init__("BucketAlreadyOwnedByYou", message, status=409, BucketName=name)


class BucketNotEmpty(S3Error):
    """There is something in the bucket."""

    def __init__(self, name: str, *, is_versioned: bool) -> None:
        message = "The bucket you tried to delete is not empty"
        if is_versioned:
            message += ". You must delete all versions in the bucket."
        super().__init__("BucketNotEmpty", message, status=409, BucketName=name)


class NoSuchBucket(S3Error):
    """There is no such bucket."""

    def __init__(self, name: str) -> None:
        super().__init__("NoSuchBucket", "The specified bucket does not exist", status=404, BucketName=name)


class AccessDenied(S3Error):
    """The caller may not do it."""

    def __init__(self, message: str = "Access Denied") -> None:
        super().__init__("AccessDenied", message, status=403)


class NoSuchKey(S3Error):
    """There is no such object."""

    def __init__(self, key: str) -> None:
        super().__init__("NoSuchKey", "The specified key does not exist.", status=404, Key=key)


class NoSuchVersion(S3Error):
    """There is no such version of the object."""

    def __init__(self, key: str, version_id: str) -> None:
        super().__init__("NoSuchVersion", "The specified version does not exist.", status=404, Key=key, VersionId=version_id)


class NoSuchUpload(S3Error):
    """There is no such upload, or it has been completed or aborted."""

    def __init__(self, upload_id: str) -> None:
        message = "The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed."
        super().__init__("NoSuchUpload", message, status=404, UploadId=upload_id)


class MethodNotAllowed(S3Error):
    """A delete marker has no content and no tags."""

    def __init__(self, method: str, resource_type: str = "DeleteMarker") -> None:
        message = "The specified method is not allowed against this resource."
        super().__init__("MethodNotAllowed", message, status=405, Method=method, ResourceType=resource_type)


class KeyTooLong(S3Error):
    """Keys have at most 1,024 bytes."""

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        super().__init__("KeyTooLongError", "Your key is too long", Size=size_bytes, MaxSizeAllowed=most_bytes)


class PreconditionFailed(S3Error):
    """A condition of the request does not hold."""

    def __init__(self, condition: str) -> None:
        message = "At least one of the pre-conditions you specified did not hold"
        super().__init__("PreconditionFailed", message, status=412, Condition=condition)


class NotModified(S3Error):
    """The caller has the object already."""

    def __init__(self) -> None:
        super().__init__("NotModified", "Not Modified", status=304)


class ConditionalConflict(S3Error):
    """Another write came between."""

    def __init__(self, condition: str, key: str) -> None:
        message = "The conditional request cannot succeed due to a conflicting operation against this resource."
        super().__init__("ConditionalRequestConflict", message, status=409, Condition=condition, Key=key)


class InvalidRange(S3Error):
    """No byte of the object is in the range."""

    def __init__(self, requested: str, size_bytes: int) -> None:
        message = "The requested range is not satisfiable"
        super().__init__("InvalidRange", message, status=416, RangeRequested=requested, ActualObjectSize=size_bytes)


class InvalidPartNumber(S3Error):
    """The object has fewer parts."""

    def __init__(self, requested: int, actual: int) -> None:
        message = "The requested partnumber is not satisfiable"
        super().__init__("InvalidPartNumber", message, status=416, PartNumberRequested=requested, ActualPartCount=actual)


class BadDigest(S3Error):
    """What arrived is not what the caller has hashed."""

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__("BadDigest", message, **members)


class InvalidDigest(S3Error):
    """Content-MD5 is no MD5."""

    def __init__(self, value: str) -> None:
        super().__init__("InvalidDigest", "The Content-MD5 you specified was invalid.", ContentMD5=value)


class IncompleteBody(S3Error):
    """Fewer bytes came than were announced."""

    def __init__(self) -> None:
        super().__init__("IncompleteBody", "You did not provide the number of bytes specified by the Content-Length HTTP header")


class InvalidPart(S3Error):
    """A part that completes an upload is not there, or another."""

    def __init__(self, upload_id: str, number: int, etag: str) -> None:
        message = (
            "One or more of the specified parts could not be found.  The part may not have been uploaded, "
            "or the specified entity tag may not match the part's entity tag."
        )
        super().__init__("InvalidPart", message, UploadId=upload_id, PartNumber=number, ETag=etag)


class InvalidPartOrder(S3Error):
    """Parts must be named in ascending order."""

    def __init__(self, upload_id: str) -> None:
        message = "The list of parts was not in ascending order. Parts must be ordered by part number."
        super().__init__("InvalidPartOrder", message, UploadId=upload_id)


class PartTooSmall(S3Error):
    """Only the last part may be small."""

    def __init__(self, etag: str, number: int, size_bytes: int, least_bytes: int) -> None:
        super().__init__(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
            ETag=etag,
            MinSizeAllowed=least_bytes,
            PartNumber=number,
            ProposedSize=size_bytes,
        )


class EntityTooLarge(S3Error):
    """More than one object, part or form may have."""

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        message = "Your proposed upload exceeds the maximum allowed size"
        super().__init__("EntityTooLarge", message, ProposedSize=size_bytes, MaxSizeAllowed=most_bytes)


class InvalidTag(S3Error):
    """A tag, or a set of them, that S3 does not take."""

    def __init__(self, message: str, **members: Any) -> None:
        super().__init__("InvalidTag", message, **members)


class MetadataTooLarge(S3Error):
    """User metadata has at most 2 KB."""

    def __init__(self, size_bytes: int, most_bytes: int) -> None:
        message = "Your metadata headers exceed the maximum allowed metadata size"
        super().__init__("MetadataTooLarge", message, Size=size_bytes, MaxSizeAllowed=most_bytes)


class InvalidStorageClass(S3Error):
    """There is no such storage class here."""

    def __init__(self, given: str) -> None:
        super().__init__("InvalidStorageClass", "The storage class you specified is not valid", StorageClassRequested=given)


class AclsNotSupported(S3Error):
    """The bucket's owner has switched ACLs off, as he has by default."""

    def __init__(self) -> None:
        super().__init__("AccessControlListNotSupported", "The bucket does not allow ACLs")


class NotConfigured(S3Error):
    """The bucket has no such configuration."""

    def __init__(self, code: str, message: str, bucket: str) -> None:
        super().__init__(code, message, status=404, BucketName=bucket)

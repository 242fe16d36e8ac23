"""The documents in which S3 tells of what happened: to functions, queues and topics, and to EventBridge.

Source: S3 User Guide, "Event message structure" and "EventBridge event message structure"; versions and members as recorded from the
service.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote_plus

EMPTY_MD5: Final = "d41d8cd98f00b204e9800998ecf8427e"


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """What happened to one object.

    Args:
        event: "s3:ObjectCreated:Put".
        at_ms: Unix time.
        etag: without quotation marks.
        version_id: "" where the bucket keeps no versions, or the version is "null".
        sequencer: grows with each change of a key.
        principal_id: who did it.
        reason: EventBridge's name of the call: "PutObject".
    """

    event: str
    at_ms: int
    bucket: str
    bucket_arn: str
    owner_account: str
    region: str
    key: str
    size_bytes: int
    etag: str
    version_id: str
    sequencer: str
    principal_id: str
    source_ip: str
    request_id: str
    host_id: str
    requester: str
    reason: str = ""


_WITHOUT_SIZE: Final = ("s3:ObjectTagging:", "s3:ObjectAcl:", "s3:ObjectRetention:", "s3:ObjectAnnotation:")

_DETAIL_TYPES: Final = {
    "s3:ObjectCreated:": "Object Created",
    "s3:ObjectRemoved:": "Object Deleted",
    "s3:LifecycleExpiration:": "Object Deleted",
    "s3:ObjectTagging:Put": "Object Tags Added",
    "s3:ObjectTagging:Delete": "Object Tags Deleted",
    "s3:ObjectAcl:Put": "Object ACL Updated",
}
_REASONS: Final = {
    "s3:ObjectCreated:Put": "PutObject",
    "s3:ObjectCreated:Post": "POST Object",
    "s3:ObjectCreated:Copy": "CopyObject",
    "s3:ObjectCreated:CompleteMultipartUpload": "CompleteMultipartUpload",
    "s3:ObjectRemoved:Delete": "DeleteObject",
    "s3:ObjectRemoved:DeleteMarkerCreated": "DeleteObject",
    "s3:LifecycleExpiration:Delete": "Lifecycle Expiration",
    "s3:LifecycleExpiration:DeleteMarkerCreated": "Lifecycle Expiration",
}


def record(happening: Happening, configuration_id: str) -> dict[str, Any]:
    """Write the document with its one record, for a function, a queue or a topic."""
    is_about_attributes = happening.event.startswith(_WITHOUT_SIZE)
    return {
        "Records": [
            {
                "eventVersion": "2.3" if is_about_attributes else "2.1",
                "eventSource": "aws:s3",
                "awsRegion": happening.region,
                "eventTime": iso_time(happening.at_ms),
                "eventName": happening.event.removeprefix("s3:"),
                "userIdentity": {"principalId": happening.principal_id},
                "requestParameters": {"sourceIPAddress": happening.source_ip},
                "responseElements": {"x-amz-request-id": happening.request_id, "x-amz-id-2": happening.host_id},
                "s3": {
                    "s3SchemaVersion": "1.0",
                    "configurationId": configuration_id,
                    "bucket": {
                        "name": happening.bucket,
                        "ownerIdentity": {"principalId": owner_principal(happening.owner_account)},
                        "arn": happening.bucket_arn,
                    },
                    "object": _object(happening, is_about_attributes=is_about_attributes),
                },
            }
        ]
    }


def _object(happening: Happening, *, is_about_attributes: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"key": quote_plus(happening.key, safe="/")}
    is_marker = happening.event.endswith(":DeleteMarkerCreated")
    is_delete = happening.event.endswith(":Delete") and not is_about_attributes
    if not is_about_attributes and not is_marker and not is_delete:
        found["size"] = happening.size_bytes
    if not is_delete:
        found["eTag"] = EMPTY_MD5 if is_marker else happening.etag
    if happening.version_id:
        found["versionId"] = happening.version_id
    if not is_about_attributes:
        found["sequencer"] = happening.sequencer
    return found


def test_document(bucket: str, at_ms: int, request_id: str, host_id: str) -> dict[str, Any]:
    """Write what S3 sends to queues and topics when they are configured."""
    return {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": iso_time(at_ms),
        "Bucket": bucket,
        "RequestId": request_id,
        "HostId": host_id,
    }


def bridge_entry(happening: Happening) -> dict[str, Any] | None:
    """Write an entry for EventBridge's PutEvents; None where EventBridge is not told of such an event."""
    detail_type = next((text for prefix, text in _DETAIL_TYPES.items() if happening.event.startswith(prefix)), None)
    if detail_type is None:
        return None
    changed: dict[str, Any] = {"key": happening.key}
    is_marker = happening.event.endswith(":DeleteMarkerCreated")
    is_delete = detail_type == "Object Deleted"
    is_about_attributes = happening.event.startswith(_WITHOUT_SIZE)
    if not is_delete and not is_about_attributes:
        changed["size"] = happening.size_bytes
    if not is_delete or is_marker:
        changed["etag"] = EMPTY_MD5 if is_marker else happening.etag
    if happening.version_id:
        changed["version-id"] = happening.version_id
    if not is_about_attributes:
        changed["sequencer"] = happening.sequencer
    detail: dict[str, Any] = {
        "version": "0",
        "bucket": {"name": happening.bucket},
        "object": changed,
        "request-id": happening.request_id,
        "requester": happening.requester,
        "source-ip-address": happening.source_ip,
    }
    reason = happening.reason or _REASONS.get(happening.event)
    if reason:
        detail["reason"] = reason
    if is_delete:
        detail["deletion-type"] = "Delete Marker Created" if is_marker else "Permanently Deleted"
    return {
        "Source": "aws.s3",
        "DetailType": detail_type,
        "Detail": json.dumps(detail, ensure_ascii=False, separators=(",", ":")),
        "Resources": [happening.bucket_arn],
        "Time": datetime.fromtimestamp(happening.at_ms / 1000, UTC).replace(microsecond=0),
    }


def owner_principal(account: str) -> str:
    """Return the principal id of a bucket's owner, made of his account."""
    return f"A{int(account):013X}" if account.isdigit() else account


def iso_time(at_ms: int) -> str:
    """Write an instant as "2026-01-02T03:04:05.678Z"."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sequencer(number: int) -> str:
    """Write a growing number as AWS's hex text, so that texts compare as their numbers do."""
    return f"{number:018X}"

"""What happened to an object, told from the call that did it."""

from lambdad.services.ports import CallContext
from lambdad.services.s3.rules import event_records, names
from lambdad.services.s3.rules.event_records import Happening
from lambdad.store.connection import Row
from lambdad.wire.rest_xml import host_id


def of_object(
    ctx: CallContext,
    bucket: Row,
    event: str,
    key: str,
    now_ms: int,
    *,
    size_bytes: int = 0,
    etag: str = "",
    version_id: str = names.NULL_VERSION,
    reason: str = "",
) -> Happening:
    """Describe a change of an object. The sequencer is given by whoever announces it."""
    return Happening(
        event=event,
        at_ms=now_ms,
        bucket=bucket.name,
        bucket_arn=names.bucket_arn(bucket.name, bucket.region),
        owner_account=bucket.account,
        region=bucket.region,
        key=key,
        size_bytes=size_bytes,
        etag=etag,
        version_id="" if version_id == names.NULL_VERSION else version_id,
        sequencer=event_records.sequencer(0),
        principal_id=_principal(ctx),
        source_ip=ctx.source_ip,
        request_id=ctx.request_id,
        host_id=host_id(ctx.request_id),
        requester=ctx.account,
        reason=reason,
    )


def _principal(ctx: CallContext) -> str:
    """Return the caller's principal id: "AWS:" and the name in his ARN, for there are no ids of users."""
    return f"AWS:{ctx.account}" if ctx.principal_arn.endswith(":root") else f"AWS:{ctx.principal_arn.rpartition(':')[2]}"

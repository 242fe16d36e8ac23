"""Access control lists: stored and shown, where a bucket's owner has not switched them off. Nobody is let in or refused by them."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, happenings, rows
from lambdad.services.s3.ports import Announcer
from lambdad.services.s3.rules import attributes, names
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

KIND: Final = "acl"
_OWNERS_OWN: Final = "bucket-owner-full-control"
_EVERYBODY: Final = "http://acs.amazonaws.com/groups/global/AllUsers"
_EVERY_ACCOUNT: Final = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
_CANNED: Final = {
    "public-read": ((_EVERYBODY, "READ"),),
    "public-read-write": ((_EVERYBODY, "READ"), (_EVERYBODY, "WRITE")),
    "authenticated-read": ((_EVERY_ACCOUNT, "READ"),),
}


def allows_acls(connection: Connection, bucket: Row) -> bool:
    """Say whether a bucket's ownership controls let it and its objects have ACLs."""
    ownership = rows.document(connection, bucket, rows.OWNERSHIP)
    return ownership is None or ownership["Rules"][0]["ObjectOwnership"] != "BucketOwnerEnforced"


def check_object_acl(connection: Connection, bucket: Row, acl: str | None) -> None:
    """
    Check the ACL that a new object is to have.

    Raises:
        AclsNotSupported: the bucket has ACLs switched off.
    """
    if acl not in (None, _OWNERS_OWN) and not allows_acls(connection, bucket):
        raise errors.AclsNotSupported


class Acls:
    """The operations on ACLs."""

    def __init__(self, database: Database, announcer: Announcer, now_ms: NowMs) -> None:
        self._database = database
        self._announcer = announcer
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {
            "GetBucketAcl": self.get_bucket_acl,
            "PutBucketAcl": self.put_bucket_acl,
            "GetObjectAcl": self.get_object_acl,
            "PutObjectAcl": self.put_object_acl,
        }

    async def get_bucket_acl(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show a bucket's ACL.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """

        def find(connection: Connection) -> dict[str, Any]:
            bucket = rows.find_bucket(connection, ctx, params)
            return _shown(rows.document(connection, bucket, KIND) or {}, bucket.account)

        return await self._database.read(find)

    async def put_bucket_acl(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace a bucket's ACL.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            AclsNotSupported: the bucket has ACLs switched off.
        """
        given = _given(params)

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            if not allows_acls(connection, bucket):
                raise errors.AclsNotSupported
            connection.run(rows.queries.put_document, bucket_id=bucket.id, kind=KIND, document=orjson.dumps(given).decode())

        await self._database.write(put)
        return {}

    async def get_object_acl(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show an object's ACL.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
        """

        def find(connection: Connection) -> dict[str, Any]:
            bucket = rows.find_bucket(connection, ctx, params)
            found = orjson.loads(rows.existing(connection, ctx, bucket, params).attributes)
            return _shown(found.get("Grants") or {"canned": found.get("ACL")}, bucket.account)

        return await self._database.read(find)

    async def put_object_acl(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace an object's ACL.

        Raises:
            NoSuchKey, NoSuchVersion, MethodNotAllowed: there is no such object.
            AclsNotSupported: the bucket has ACLs switched off.
        """
        given = _given(params)
        now_ms = self._now_ms()

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            row = rows.existing(connection, ctx, bucket, params)
            if not allows_acls(connection, bucket):
                raise errors.AclsNotSupported
            found = orjson.loads(row.attributes)
            found["Grants"] = given
            connection.run(rows.queries.set_attributes, id=row.id, attributes=orjson.dumps(found).decode())
            happening = happenings.of_object(ctx, bucket, "s3:ObjectAcl:Put", row.key, now_ms, etag=row.etag, version_id=row.version_id)
            self._announcer.announce(connection, bucket, happening)

        await self._database.write(put)
        self._announcer.wake()
        return {}


def _given(params: Mapping[str, Any]) -> dict[str, Any]:
    """Read an ACL from a request: a canned one by its name, or grants written out."""
    attributes.check_supported(params)
    canned, policy = params.get("ACL"), params.get("AccessControlPolicy")
    if canned is not None and policy is not None:
        raise errors.S3Error("UnexpectedContent", "This request does not support content")
    if canned is not None:
        return {"canned": attributes.canned_acl(canned)}
    if policy is None or "Grants" not in policy:
        raise errors.S3Error("MissingSecurityHeader", "Your request was missing a required header", MissingHeaderName="x-amz-acl")
    return {"grants": policy["Grants"]}


def _shown(acl: Mapping[str, Any], account: str) -> dict[str, Any]:
    owner = {"ID": names.owner_id(account)}
    if acl.get("grants") is not None:
        return {"Owner": owner, "Grants": acl["grants"]}
    grants: list[dict[str, Any]] = [{"Grantee": {"ID": owner["ID"], "Type": "CanonicalUser"}, "Permission": "FULL_CONTROL"}]
    for uri, permission in _CANNED.get(acl.get("canned") or "", ()):
        grants.append({"Grantee": {"URI": uri, "Type": "Group"}, "Permission": permission})
    return {"Owner": owner, "Grants": grants}

"""Buckets: CreateBucket, HeadBucket, ListBuckets, DeleteBucket, GetBucketLocation, versioning."""

import re
from datetime import UTC, datetime
from typing import Any

import orjson

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import acls, errors, rows
from lambdad.services.s3.rules import attributes, limits, listing, names, tags
from lambdad.services.s3.rules.listing import Start
from lambdad.store.connection import Connection
from lambdad.store.database import Database

_HOME = "us-east-1"
_REGION = re.compile(r"[a-z]{2}(?:-[a-z]+)+-\d").fullmatch
_OWNERSHIPS = ("BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter")


class Buckets:
    """The operations on buckets themselves."""

    def __init__(self, database: Database, now_ms: NowMs) -> None:
        self._database = database
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        return {
            "CreateBucket": self.create_bucket,
            "HeadBucket": self.head_bucket,
            "ListBuckets": self.list_buckets,
            "DeleteBucket": self.delete_bucket,
            "GetBucketLocation": self.get_bucket_location,
            "PutBucketVersioning": self.put_bucket_versioning,
            "GetBucketVersioning": self.get_bucket_versioning,
        }

    async def create_bucket(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Make a bucket, with AWS's defaults: ACLs off, public access blocked.

        Raises:
            InvalidBucketName: it cannot be called so.
            BucketExists, BucketOwned: the name is taken; in us-east-1 its owner may make it again.
            S3Error: IllegalLocationConstraintException, InvalidLocationConstraint, the region is not that of the request, or none.
        """
        name = params["Bucket"]
        names.check_new_bucket(name)
        attributes.check_supported(params)
        configuration = params.get("CreateBucketConfiguration") or {}
        if configuration.get("Bucket") or configuration.get("Location") or params.get("BucketNamespace") not in (None, "global"):
            raise errors.NotImplementedForm("x-amz-bucket-namespace", "Only general purpose buckets can be made here.")
        if params.get("ObjectLockEnabledForBucket"):
            raise errors.NotImplementedForm("x-amz-bucket-object-lock-enabled")
        ownership = params.get("ObjectOwnership", "BucketOwnerEnforced")
        if ownership not in _OWNERSHIPS:
            raise errors.InvalidArgument("Invalid x-amz-object-ownership header", "x-amz-object-ownership", ownership)
        acl = params.get("ACL")
        if acl not in (None, "private") and ownership == "BucketOwnerEnforced":
            raise errors.S3Error(
                "InvalidBucketAclWithObjectOwnership", "Bucket cannot have ACLs set with ObjectOwnership's BucketOwnerEnforced setting"
            )
        region = _region_of(ctx.region, configuration.get("LocationConstraint"))
        given_tags = tags.checked(configuration.get("Tags") or [], limits.BUCKET_TAGS)
        now_ms = self._now_ms()
        documents: dict[str, Any] = {
            rows.OWNERSHIP: {"Rules": [{"ObjectOwnership": ownership}]},
            rows.PUBLIC_ACCESS: {
                "BlockPublicAcls": True,
                "IgnorePublicAcls": True,
                "BlockPublicPolicy": True,
                "RestrictPublicBuckets": True,
            },
        }
        if given_tags:
            documents[rows.TAGS] = given_tags
        if acl not in (None, "private"):
            documents[acls.KIND] = {"canned": acl}

        def create(connection: Connection) -> None:
            made = connection.one(rows.queries.insert_bucket, name=name, account=ctx.account, region=region, created_at_ms=now_ms)
            if made is None:
                there = connection.one(rows.queries.get_bucket, name=name)
                if there is not None and there.account != ctx.account:
                    raise errors.BucketExists(name)
                if ctx.region != _HOME or there is None or there.region != region:
                    raise errors.BucketOwned(name)
                return
            for kind, document in documents.items():
                connection.run(rows.queries.put_document, bucket_id=made.id, kind=kind, document=orjson.dumps(document).decode())

        await self._database.write(create)
        location = f"/{name}" if region == _HOME else f"http://{name}.s3.amazonaws.com/"
        return {"Location": location, "BucketArn": names.bucket_arn(name, region)}

    async def head_bucket(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Say that a bucket is there, and where.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """
        bucket = await self._database.read(lambda connection: rows.find_bucket(connection, ctx, params))
        return {"BucketRegion": bucket.region, "AccessPointAlias": False, "BucketArn": names.bucket_arn(bucket.name, bucket.region)}

    async def list_buckets(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        List the caller's buckets in order of names.

        Raises:
            InvalidArgument: the size of the page or the token is none.
        """
        limit = params.get("MaxBuckets", limits.BUCKETS_PAGE)
        if not 1 <= limit <= limits.BUCKETS_PAGE:
            raise errors.InvalidArgument(
                "Argument max-buckets must be an integer between 1 and 10000", "max-buckets", params.get("MaxBuckets")
            )
        token, prefix = params.get("ContinuationToken"), params.get("Prefix", "")
        after = listing.start_of(token).key if token else ""
        found = await self._database.read(
            lambda connection: connection.all(
                rows.queries.buckets_by_name,
                account=ctx.account,
                after=after,
                prefix=prefix,
                prefix_end=names.end_of_prefix(prefix),
                region=params.get("BucketRegion", ""),
                limit=limit + 1,
            )
        )
        answer: dict[str, Any] = {
            "Buckets": [
                {
                    "Name": row.name,
                    "CreationDate": datetime.fromtimestamp(row.created_at_ms // 1000, UTC),
                    "BucketRegion": row.region,
                }
                for row in found[:limit]
            ],
            "Owner": {"ID": names.owner_id(ctx.account)},
        }
        if prefix:
            answer["Prefix"] = prefix
        if len(found) > limit:
            answer["ContinuationToken"] = listing.token_of(Start(found[limit - 1].name))
        return answer

    async def delete_bucket(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Remove a bucket in which there is nothing; unfinished uploads go with it.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            BucketNotEmpty: there is an object, or a version or delete marker of one.
        """

        def delete(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            if connection.one(rows.queries.any_object, bucket_id=bucket.id) is not None:
                raise errors.BucketNotEmpty(bucket.name, is_versioned=bool(bucket.versioning))
            for upload in connection.all(rows.queries.uploads_of_bucket, bucket_id=bucket.id):
                rows.remove_upload(connection, upload.id)
            connection.run(rows.queries.delete_documents, bucket_id=bucket.id)
            connection.run(rows.queries.delete_bucket, id=bucket.id)

        await self._database.write(delete)
        return {}

    async def get_bucket_location(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Say where a bucket is; us-east-1 is nothing.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """
        bucket = await self._database.read(lambda connection: rows.find_bucket(connection, ctx, params))
        return {"LocationConstraint": None if bucket.region == _HOME else bucket.region}

    async def put_bucket_versioning(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Keep versions of a bucket's objects from now on, or stop it.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            NotImplementedForm: MFA delete.
            S3Error: IllegalVersioningConfigurationException, no state is given.
        """
        configuration = params["VersioningConfiguration"]
        if configuration.get("MFADelete") == "Enabled":
            raise errors.NotImplementedForm("MfaDelete")
        status = configuration.get("Status")
        if status not in (rows.ENABLED, rows.SUSPENDED):
            raise errors.S3Error("IllegalVersioningConfigurationException", "The Versioning element must be specified")

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            connection.run(rows.queries.set_versioning, id=bucket.id, versioning=status)

        await self._database.write(put)
        return {}

    async def get_bucket_versioning(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Say whether a bucket keeps versions; nothing at all where it never did.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
        """
        bucket = await self._database.read(lambda connection: rows.find_bucket(connection, ctx, params))
        return {"Status": bucket.versioning or None}


def _region_of(endpoint_region: str, constraint: str | None) -> str:
    """Return the region of a new bucket, from where the request went and what it says.

    Raises:
        S3Error: the two do not fit, or there is no such region.
    """
    if constraint == "EU":
        constraint = "eu-west-1"
    if constraint and (constraint == _HOME or not _REGION(constraint)):
        raise errors.S3Error("InvalidLocationConstraint", "The specified location-constraint is not valid", LocationConstraint=constraint)
    if endpoint_region == _HOME:
        return constraint or _HOME
    if constraint != endpoint_region:
        said = constraint or "unspecified"
        raise errors.S3Error(
            "IllegalLocationConstraintException",
            f"The {said} location constraint is incompatible for the region specific endpoint this request was sent to.",
        )
    return endpoint_region

"""Configurations of buckets that are kept as documents: put, shown and removed; and those that no bucket here can have."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson

from lambdad.services.ports import CallContext, Handler
from lambdad.services.s3 import errors, rows
from lambdad.services.s3.ports import NewId
from lambdad.services.s3.rules import cors, lifecycle, names, policies, websites
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database

CORS = "cors"
LIFECYCLE = "lifecycle"
WEBSITE = "website"

_MINIMUM_SIZE = "all_storage_classes_128K"
_AES256 = {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}, "BucketKeyEnabled": False}]}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind:
    """A configuration that is put, shown and removed as a whole.

    Args:
        member: of the input, and of the output where `is_wrapped`; else the output is the configuration's members.
        code, message: of the error where there is none.
        check: raises for what S3 does not take, and returns what is kept.
        default: what is shown where there is none.
    """

    kind: str
    member: str
    code: str
    message: str
    check: Callable[[Any, str], Any]
    is_wrapped: bool = False
    default: Any = None


class Configurations:
    """The operations on them."""

    def __init__(self, database: Database, new_id: NewId) -> None:
        self._database = database
        self._new_id = new_id

    def handlers(self) -> dict[str, Handler]:
        put, get, delete = self._put, self._get, self._delete
        return {
            "PutBucketCors": put(_CORS),
            "GetBucketCors": get(_CORS),
            "DeleteBucketCors": delete(_CORS),
            "PutBucketWebsite": put(_WEBSITE),
            "GetBucketWebsite": get(_WEBSITE),
            "DeleteBucketWebsite": delete(_WEBSITE),
            "PutBucketEncryption": put(_ENCRYPTION),
            "GetBucketEncryption": get(_ENCRYPTION),
            "DeleteBucketEncryption": delete(_ENCRYPTION),
            "PutBucketOwnershipControls": put(_OWNERSHIP),
            "GetBucketOwnershipControls": get(_OWNERSHIP),
            "DeleteBucketOwnershipControls": delete(_OWNERSHIP),
            "PutPublicAccessBlock": put(_PUBLIC_ACCESS),
            "GetPublicAccessBlock": get(_PUBLIC_ACCESS),
            "DeletePublicAccessBlock": delete(_PUBLIC_ACCESS),
            "PutBucketPolicy": self.put_bucket_policy,
            "GetBucketPolicy": get(_POLICY),
            "GetBucketPolicyStatus": self.get_bucket_policy_status,
            "DeleteBucketPolicy": delete(_POLICY),
            "PutBucketLifecycleConfiguration": self.put_bucket_lifecycle_configuration,
            "GetBucketLifecycleConfiguration": self.get_bucket_lifecycle_configuration,
            "DeleteBucketLifecycle": delete(_LIFECYCLE),
            "PutBucketRequestPayment": self.put_bucket_request_payment,
            "GetBucketRequestPayment": self._fixed(_OWNER_PAYS),
            "PutBucketAccelerateConfiguration": self.put_bucket_accelerate_configuration,
            "GetBucketAccelerateConfiguration": self._fixed({}),
            "PutBucketLogging": self.put_bucket_logging,
            "GetBucketLogging": self._fixed({}),
            "GetBucketReplication": self._missing("ReplicationConfigurationNotFoundError", "The replication configuration was not found"),
            "DeleteBucketReplication": self._fixed({}),
            "GetObjectLockConfiguration": self._missing(
                "ObjectLockConfigurationNotFoundError", "Object Lock configuration does not exist for this bucket"
            ),
            "GetObjectRetention": self._without_lock,
            "GetObjectLegalHold": self._without_lock,
            "ListBucketAnalyticsConfigurations": self._fixed(_NO_LIST),
            "ListBucketIntelligentTieringConfigurations": self._fixed(_NO_LIST),
            "ListBucketInventoryConfigurations": self._fixed(_NO_LIST),
            "ListBucketMetricsConfigurations": self._fixed(_NO_LIST),
            "GetBucketAbac": self._fixed(_NO_ABAC),
            "GetBucketAnalyticsConfiguration": self._missing(*_NO_SUCH),
            "GetBucketIntelligentTieringConfiguration": self._missing(*_NO_SUCH),
            "GetBucketInventoryConfiguration": self._missing(*_NO_SUCH),
            "GetBucketMetricsConfiguration": self._missing(*_NO_SUCH),
        }

    def _put(self, kind: _Kind) -> Handler:
        async def put(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            await self._keep(ctx, params, kind.kind, kind.check(params[kind.member], params["Bucket"]))
            return {}

        return put

    async def _keep(self, ctx: CallContext, params: Mapping[str, Any], kind: str, document: Any) -> None:
        text = orjson.dumps(document, default=_moment).decode()

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            connection.run(rows.queries.put_document, bucket_id=bucket.id, kind=kind, document=text)

        await self._database.write(put)

    def _get(self, kind: _Kind) -> Handler:
        async def get(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            document = await self._find(ctx, params, kind)
            return {kind.member: document} if kind.is_wrapped else document

        return get

    async def _find(self, ctx: CallContext, params: Mapping[str, Any], kind: _Kind) -> Any:
        def find(connection: Connection) -> Any:
            bucket = rows.find_bucket(connection, ctx, params)
            document = rows.document(connection, bucket, kind.kind)
            if document is None:
                document = kind.default
            if document is None:
                raise errors.NotConfigured(kind.code, kind.message, bucket.name)
            return document

        return await self._database.read(find)

    def _delete(self, kind: _Kind) -> Handler:
        async def delete(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            def remove(connection: Connection) -> None:
                bucket = rows.find_bucket(connection, ctx, params)
                connection.run(rows.queries.delete_document, bucket_id=bucket.id, kind=kind.kind)

            await self._database.write(remove)
            return {}

        return delete

    async def _bucket(self, ctx: CallContext, params: Mapping[str, Any]) -> Row:
        return await self._database.read(lambda connection: rows.find_bucket(connection, ctx, params))

    def _fixed(self, answer: Mapping[str, Any]) -> Handler:
        """Answer for what cannot be switched on here, and so is always as it is in a new bucket."""

        async def get(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            await self._bucket(ctx, params)
            return dict(answer)

        return get

    def _missing(self, code: str, message: str) -> Handler:
        """Answer for a configuration that no bucket here has."""

        async def get(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            bucket = await self._bucket(ctx, params)
            raise errors.NotConfigured(code, message, bucket.name)

        return get

    async def _without_lock(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        await self._bucket(ctx, params)
        raise errors.InvalidRequest("Bucket is missing Object Lock Configuration")

    async def put_bucket_policy(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Put a policy on a bucket.

        Raises:
            NoSuchBucket: there is no such bucket.
            MalformedPolicy: it is no policy of this bucket.
            AccessDenied: it lets everybody in, and the bucket's public access block forbids that.
        """
        text = params["Policy"]

        def put(connection: Connection) -> None:
            bucket = rows.find_bucket(connection, ctx, params)
            policy = policies.parsed(text, names.bucket_arn(bucket.name, bucket.region))
            block = rows.document(connection, bucket, rows.PUBLIC_ACCESS) or {}
            if block.get("BlockPublicPolicy") and policies.is_public(policy):
                raise errors.AccessDenied(
                    f"User: {ctx.principal_arn} is not authorized to perform: s3:PutBucketPolicy on resource: "
                    f'"{names.bucket_arn(bucket.name, bucket.region)}" because public policies are prevented by the BlockPublicPolicy '
                    "setting in S3 Block Public Access."
                )
            document = orjson.dumps(text).decode()
            connection.run(rows.queries.put_document, bucket_id=bucket.id, kind=rows.POLICY, document=document)

        await self._database.write(put)
        return {}

    async def get_bucket_policy_status(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Say whether a bucket's policy lets everybody in.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            NotConfigured: it has no policy.
        """
        policy = orjson.loads(await self._find(ctx, params, _POLICY))
        return {"PolicyStatus": {"IsPublic": policies.is_public(policy)}}

    async def put_bucket_lifecycle_configuration(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Replace a bucket's lifecycle rules.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            MalformedXml, InvalidArgument, InvalidRequest: a rule is not taken.
        """
        given = (params.get("LifecycleConfiguration") or {}).get("Rules") or []
        rules = lifecycle.checked(given, [self._new_id() for _ in given])
        minimum = params.get("TransitionDefaultMinimumObjectSize") or _MINIMUM_SIZE
        await self._keep(ctx, params, LIFECYCLE, {"Rules": rules, "TransitionDefaultMinimumObjectSize": minimum})
        return {"TransitionDefaultMinimumObjectSize": minimum}

    async def get_bucket_lifecycle_configuration(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Show a bucket's lifecycle rules.

        Raises:
            NoSuchBucket, AccessDenied: there is no such bucket for the caller.
            NotConfigured: it has none.
        """
        document = await self._find(ctx, params, _LIFECYCLE)
        for rule in document["Rules"]:
            for action in (rule.get("Expiration"), *rule.get("Transitions", ())):
                if action and isinstance(action.get("Date"), str):
                    action["Date"] = datetime.fromisoformat(action["Date"])
        return dict(document)

    async def put_bucket_request_payment(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Let the owner pay, as he does anyway.

        Raises:
            NotImplementedForm: the requester is to pay.
        """
        await self._bucket(ctx, params)
        if params["RequestPaymentConfiguration"].get("Payer") != "BucketOwner":
            raise errors.NotImplementedForm("Payer")
        return {}

    async def put_bucket_accelerate_configuration(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Leave transfer acceleration off.

        Raises:
            NotImplementedForm: it is to be on.
        """
        await self._bucket(ctx, params)
        if params["AccelerateConfiguration"].get("Status") != rows.SUSPENDED:
            raise errors.NotImplementedForm("Status")
        return {}

    async def put_bucket_logging(self, ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        """
        Leave access logs off.

        Raises:
            NotImplementedForm: they are to be on.
        """
        await self._bucket(ctx, params)
        if params["BucketLoggingStatus"].get("LoggingEnabled"):
            raise errors.NotImplementedForm("LoggingEnabled")
        return {}


def _moment(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    raise TypeError(type(value).__name__)


def _check_cors(document: Any, bucket: str) -> Any:
    cors.check(document)
    return document


def _check_website(document: Any, bucket: str) -> Any:
    websites.check(document)
    return document


def _check_encryption(document: Any, bucket: str) -> Any:
    rules = document.get("Rules") or []
    if len(rules) != 1:
        raise errors.MalformedXml
    default = rules[0].get("ApplyServerSideEncryptionByDefault") or {"SSEAlgorithm": "AES256"}
    if default.get("SSEAlgorithm") != "AES256" or default.get("KMSMasterKeyID"):
        raise errors.NotImplementedForm("SSEAlgorithm", "Only AES256 is known here.")
    return {
        "Rules": [
            {
                "ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"},
                "BucketKeyEnabled": bool(rules[0].get("BucketKeyEnabled")),
            }
        ]
    }


def _check_ownership(document: Any, bucket: str) -> Any:
    rules = document.get("Rules") or []
    if len(rules) != 1:
        raise errors.MalformedXml
    return {"Rules": [{"ObjectOwnership": rules[0]["ObjectOwnership"]}]}


def _check_public_access(document: Any, bucket: str) -> Any:
    members = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
    return {name: bool(document.get(name)) for name in members}


def _unchecked(document: Any, bucket: str) -> Any:
    return document


_OWNER_PAYS = {"Payer": "BucketOwner"}
_NO_ABAC = {"AbacStatus": {"Status": "Disabled"}}
_NO_LIST = {"IsTruncated": False}
_NO_SUCH = ("NoSuchConfiguration", "The specified configuration does not exist.")
_CORS = _Kind(
    kind=CORS,
    member="CORSConfiguration",
    code="NoSuchCORSConfiguration",
    message="The CORS configuration does not exist",
    check=_check_cors,
)
_WEBSITE = _Kind(
    kind=WEBSITE,
    member="WebsiteConfiguration",
    code="NoSuchWebsiteConfiguration",
    message="The specified bucket does not have a website configuration",
    check=_check_website,
)
_LIFECYCLE = _Kind(
    kind=LIFECYCLE,
    member="LifecycleConfiguration",
    code="NoSuchLifecycleConfiguration",
    message="The lifecycle configuration does not exist",
    check=_unchecked,
)
_ENCRYPTION = _Kind(
    kind=rows.ENCRYPTION,
    member="ServerSideEncryptionConfiguration",
    code="ServerSideEncryptionConfigurationNotFoundError",
    message="The server side encryption configuration was not found",
    check=_check_encryption,
    is_wrapped=True,
    default=_AES256,
)
_OWNERSHIP = _Kind(
    kind=rows.OWNERSHIP,
    member="OwnershipControls",
    code="OwnershipControlsNotFoundError",
    message="The bucket ownership controls were not found",
    check=_check_ownership,
    is_wrapped=True,
)
_PUBLIC_ACCESS = _Kind(
    kind=rows.PUBLIC_ACCESS,
    member="PublicAccessBlockConfiguration",
    code="NoSuchPublicAccessBlockConfiguration",
    message="The public access block configuration was not found",
    check=_check_public_access,
    is_wrapped=True,
)
_POLICY = _Kind(
    kind=rows.POLICY,
    member="Policy",
    code="NoSuchBucketPolicy",
    message="The bucket policy does not exist",
    check=_unchecked,
    is_wrapped=True,
)

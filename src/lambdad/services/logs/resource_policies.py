"""Resource policies of an account: put, described, deleted. They are kept, and not enforced yet."""

from typing import Any

from lambdad.kit.clock import NowMs
from lambdad.services.logs import errors
from lambdad.services.logs.rules import limits, paging, policies
from lambdad.services.ports import CallContext, Handler
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

queries = load_queries("lambdad.services.logs", "queries.sql")


class ResourcePolicies:
    """The operations on resource policies."""

    def __init__(self, database: Database, now_ms: NowMs) -> None:
        self._database = database
        self._now_ms = now_ms

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutResourcePolicy": self.put_resource_policy,
            "DescribeResourcePolicies": self.describe_resource_policies,
            "DeleteResourcePolicy": self.delete_resource_policy,
        }

    async def put_resource_policy(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Keep a policy, or replace it.

        Raises:
            InvalidParameter: it is no policy, or is to be one of a single resource.
            LimitExceeded: the account has ten other policies.
        """
        name, document = policies.check(request)
        now_ms = self._now_ms()

        def put(connection: Connection) -> Row | None:
            connection.run(
                queries.put_resource_policy,
                account=ctx.account,
                region=ctx.region,
                name=name,
                document=document,
                updated_at_ms=now_ms,
                revision_id=policies.revision_id(name, document, now_ms),
            )
            if connection.one(queries.has_resource_policies, account=ctx.account, region=ctx.region, number=limits.RESOURCE_POLICIES):
                raise errors.LimitExceeded
            return connection.one(queries.get_resource_policy, account=ctx.account, region=ctx.region, name=name)

        row = await self._database.write(put)
        assert row is not None
        return {"resourcePolicy": _to_api(row), "revisionId": row.revision_id}

    async def describe_resource_policies(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """List the account's policies in order of names.

        Raises:
            InvalidParameter: the token is none.
        """
        if request.get("resourceArn") or request.get("policyScope") == policies.RESOURCE:
            return {"resourcePolicies": []}  # no single resource has one here
        limit = request.get("limit", limits.PAGE_ITEMS)
        after = paging.parse_name_token(request["nextToken"]) if request.get("nextToken") else ""
        rows = await self._database.read(
            lambda connection: connection.all(
                queries.resource_policies, account=ctx.account, region=ctx.region, after=after, limit=limit + 1
            )
        )
        output: dict[str, Any] = {"resourcePolicies": [_to_api(row) for row in rows[:limit]]}
        if len(rows) > limit:
            output["nextToken"] = paging.name_token(rows[limit - 1].name)
        return output

    async def delete_resource_policy(self, ctx: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove a policy.

        Raises:
            InvalidParameter: no name was given, or a resource.
            ResourcePolicyMissing: there is no such policy.
        """
        name = policies.check_name(request)

        def delete(connection: Connection) -> None:
            if not connection.run(queries.delete_resource_policy, account=ctx.account, region=ctx.region, name=name):
                raise errors.ResourcePolicyMissing(name)

        await self._database.write(delete)
        return {}


def _to_api(row: Row) -> dict[str, Any]:
    return {
        "policyName": row.name,
        "policyDocument": row.document,
        "lastUpdatedTime": row.updated_at_ms,
        "policyScope": policies.ACCOUNT,
        "revisionId": row.revision_id,
    }

"""Layer permissions: which other accounts may use a layer version.

Source: Lambda API Reference, AddLayerVersionPermission, GetLayerVersionPolicy, RemoveLayerVersionPermission.
"""

from collections.abc import Callable
from typing import Any

from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.layer_rows import LayerRows, LayerVersion
from lambdad.services.lambda_.rules import layer_names, policies, revisions
from lambdad.services.lambda_.rules.layer_names import NamedLayer
from lambdad.services.ports import CallContext, Handler
from lambdad.store.database import Connection, Database

_REVISION_FROM = "GetLayerPolicy"  # the call that PreconditionFailed's text names


class LayerPermissions:
    """The policies of layer versions.

    Args:
        new_uuid: makes RevisionIds.
    """

    def __init__(self, database: Database, new_uuid: Callable[[], str]) -> None:
        self._database = database
        self._new_uuid = new_uuid
        self._rows = LayerRows()

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "AddLayerVersionPermission": self.add_layer_version_permission,
            "GetLayerVersionPolicy": self.get_layer_version_policy,
            "RemoveLayerVersionPermission": self.remove_layer_version_permission,
        }

    async def add_layer_version_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Let an account, an organization or everybody use a layer version."""
        named, number = _named(context, request, "AddLayerVersionPermission")
        grant = policies.Grant(
            sid=request["StatementId"],
            principal=request["Principal"],
            action=request["Action"],
            principal_org_id=request.get("OrganizationId"),
        )
        statement = policies.statement(grant, named.version_arn(number), named.region)
        revision_id = self._new_uuid()

        def add(connection: Connection) -> None:
            found = self._find(connection, named, number)
            policy = policies.add(found.policy, statement)
            revisions.require(request.get("RevisionId"), found.policy_revision_id or "", call=_REVISION_FROM)
            self._rows.put_policy(connection, found, policy, revision_id)

        await self._database.write(add)
        return {"Statement": policies.compact(statement), "RevisionId": revision_id}

    async def get_layer_version_policy(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a layer version's policy."""
        named, number = _named(context, request, "GetLayerVersionPolicy")
        found = await self._database.read(lambda connection: self._find(connection, named, number))
        if found.policy is None:
            raise errors.ResourceNotFound("No policy is associated with the given resource.")
        return {"Policy": found.policy, "RevisionId": found.policy_revision_id}

    async def remove_layer_version_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Take one statement out of a layer version's policy; with the last one the policy goes."""
        named, number = _named(context, request, "RemoveLayerVersionPermission")
        new_revision_id = self._new_uuid()

        def remove(connection: Connection) -> None:
            found = self._find(connection, named, number)
            if found.policy is not None:
                revisions.require(request.get("RevisionId"), found.policy_revision_id or "", call=_REVISION_FROM)
            policy = policies.remove(found.policy, request["StatementId"])
            self._rows.put_policy(connection, found, policy, new_revision_id if policy is not None else None)

        await self._database.write(remove)
        return {}

    def _find(self, connection: Connection, named: NamedLayer, number: int) -> LayerVersion:
        found = self._rows.find(connection, named.account, named.region, named.name, number)
        if found is None:
            raise errors.ResourceNotFound(f"Layer version {named.version_arn(number)} does not exist.")
        return found


def _named(context: CallContext, request: dict[str, Any], operation: str) -> tuple[NamedLayer, int]:
    return (
        layer_names.own(context, request["LayerName"], operation),
        layer_names.version(request["VersionNumber"]),
    )

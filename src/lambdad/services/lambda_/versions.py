"""Versions: publish ``$LATEST``, and list what was published."""

from collections.abc import Sequence
from typing import Any

from lambdad.model.function import Function, FunctionVersion
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import lifecycle, names, paging, presentation, revisions, snap_start, versions
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]


class Versions:
    """The operations on versions."""

    def __init__(self, registry: Registry, world: World) -> None:
        self._registry = registry
        self._world = world

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PublishVersion": self.publish_version,
            "ListVersionsByFunction": self.list_versions_by_function,
        }

    async def publish_version(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Make a version of ``$LATEST``; where nothing changed since the last one, give that."""
        name = names.latest_of(context.account, context.region, request["FunctionName"])
        if request.get("PublishTo"):
            raise errors.unsupported("PublishTo")

        def decide(function: Function | None) -> Change[Output]:
            if function is None:
                raise errors.function_not_found(name.arn)
            lifecycle.require_changeable(function)
            revisions.require(request.get("RevisionId"), function.latest.revision_id)
            current = presentation.code_sha256(function.latest.code_sha256)
            versions.require_code_sha256(request.get("CodeSha256"), current)
            published = versions.publish(
                function,
                description=request.get("Description"),
                new_revision_ids=(self._world.new_uuid(), self._world.new_uuid()),
                new_deployment_id=self._world.new_uuid(),
                settled=not snap_start.applies(function.latest),
            )
            version = published.version
            return Change(published.function, presentation.configuration(version, version.qualified_arn))

        return await self._registry.change(name.key, decide)

    async def list_versions_by_function(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List ``$LATEST`` and the published versions, ascending."""
        name = names.named(context.account, context.region, request["FunctionName"])
        function = self._registry.find(name.key)
        if function is None:
            raise errors.function_not_found(name.arn)
        listed: Sequence[FunctionVersion] = [function.latest, *function.versions.values()]
        shown, next_marker = paging.page(
            listed, lambda version: paging.number(version.version), request.get("Marker"), request.get("MaxItems")
        )
        output: Output = {"Versions": [presentation.in_list(version, version.qualified_arn) for version in shown]}
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

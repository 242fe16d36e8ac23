"""Functions: create, read, list, update, delete.

Each mutation checks what can be checked, does what is slow (store the zip, find the layers), and then decides under the function's
lock, where it checks again what may have changed meanwhile.
"""

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lambdad.model import arn, limits
from lambdad.model.function import LATEST, Function, FunctionVersion, LayerReference
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.code_links import CodeLinks
from lambdad.services.lambda_.ports import Code, LayerResolver, Objects, StoredCode
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import (
    aliases,
    configuration,
    event_invoke,
    layers_used,
    lifecycle,
    names,
    paging,
    presentation,
    provisioned,
    revisions,
    usage,
    versions,
)
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What decisions take from outside: the time and new identifiers.

    Args:
        now_ms: Unix time in milliseconds.
        new_uuid: a random UUID, lower case with hyphens.
    """

    now_ms: Callable[[], int]
    new_uuid: Callable[[], str]

    def ids(self) -> configuration.Ids:
        """Draw what one new deployment needs."""
        return configuration.Ids(
            revision_id=self.new_uuid(),
            deployment_id=self.new_uuid(),
            last_modified=presentation.timestamp(self.now_ms()),
        )


class Functions:
    """The operations on functions.

    Args:
        architectures: what this machine can run, ``{"x86_64"}``.
        code_storage_bytes: per account and region.
    """

    def __init__(
        self,
        registry: Registry,
        code: Code,
        objects: Objects,
        layers: LayerResolver,
        links: CodeLinks,
        world: World,
        *,
        architectures: Collection[str],
        code_storage_bytes: int = limits.CODE_STORAGE_BYTES,
    ) -> None:
        self._registry = registry
        self._code = code
        self._objects = objects
        self._layers = layers
        self._links = links
        self._world = world
        self._architectures = architectures
        self._code_storage_bytes = code_storage_bytes

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "CreateFunction": self.create_function,
            "GetFunction": self.get_function,
            "GetFunctionConfiguration": self.get_function_configuration,
            "ListFunctions": self.list_functions,
            "UpdateFunctionCode": self.update_function_code,
            "UpdateFunctionConfiguration": self.update_function_configuration,
            "DeleteFunction": self.delete_function,
        }

    # --- reading

    async def get_function(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a function or version, a link to its code, its tags and its reservation."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        function = self._registry.find(name.key)
        version = names.version_of(name, function)
        assert function is not None
        output: Output = {
            "Configuration": presentation.configuration(version, name.qualified_arn),
            "Code": {
                "RepositoryType": "S3",
                "Location": self._links.link(context.endpoint, version.code_sha256, self._world.now_ms()),
            },
        }
        if function.tags:
            output["Tags"] = dict(function.tags)
        if function.reserved_concurrency is not None:
            output["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved_concurrency}
        return output

    async def get_function_configuration(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show the configuration of a function or version."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        version = names.version_of(name, self._registry.find(name.key))
        return presentation.configuration(version, name.qualified_arn)

    async def list_functions(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List an account's functions in the region, with all their versions where asked for."""
        wants_all = request.get("FunctionVersion") == "ALL"
        master_region = request.get("MasterRegion")
        if master_region and not wants_all:
            raise errors.InvalidParameterValue("FunctionVersion must be set to ALL when MasterRegion is given.")
        functions = self._registry.in_region(context.account, context.region)
        if master_region:
            functions = []  # asks for replicas of Lambda@Edge functions; there are none
        listed: Sequence[FunctionVersion] = [
            version
            for function in functions
            for version in ((function.latest, *function.versions.values()) if wants_all else (function.latest,))
        ]
        shown, next_marker = paging.page(listed, _position, request.get("Marker"), request.get("MaxItems"))
        output: Output = {
            "Functions": [presentation.in_list(version, version.qualified_arn if wants_all else version.arn) for version in shown]
        }
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

    # --- create

    async def create_function(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Create a function; it is Pending until its code is prepared."""
        key = names.to_create(context.account, context.region, request["FunctionName"])
        configuration.check_create(request, self._architectures)
        layers = await self._find_layers(context, request.get("Layers")) or ()
        self._require_absent(self._registry.find(key), key.name)
        stored = await self._code.store(self._zip(context, request["Code"]))
        layers_used.check_size(stored.unzipped_bytes, layers)

        def decide(old: Function | None) -> Change[Output]:
            self._require_absent(old, key.name)
            latest = lifecycle.created(configuration.create(key, request, _reference(stored), layers, self._world.ids()))
            function = Function(
                account=key.account,
                region=key.region,
                name=key.name,
                latest=latest,
                tags=dict(request.get("Tags") or {}),
                next_version=self._registry.next_version(key),
            )
            function, shown = self._publish(function) if request.get("Publish") else (function, latest)
            self._require_storage(context, None, function)
            return Change(function, presentation.configuration(shown, shown.arn))

        return await self._registry.change(key, decide)

    # --- update

    async def update_function_configuration(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Change settings of ``$LATEST``; what runs follows when the update is Successful."""
        name = names.latest_of(context.account, context.region, request["FunctionName"])
        configuration.check_update(request)
        _changeable(name, self._registry.find(name.key), request.get("RevisionId"))
        layers = await self._find_layers(context, request.get("Layers"))

        def decide(old: Function | None) -> Change[Output]:
            function = _changeable(name, old, request.get("RevisionId"))
            latest = configuration.update(function.latest, request, layers, self._world.ids())
            layers_used.check_size(latest.code_unzipped_bytes, latest.layers)
            latest = lifecycle.updated(latest)
            return Change(replace(function, latest=latest), presentation.configuration(latest, name.qualified_arn))

        return await self._registry.change(name.key, decide)

    async def update_function_code(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Change the code of ``$LATEST``, and publish it where asked for."""
        name = names.latest_of(context.account, context.region, request["FunctionName"])
        configuration.check_architectures(request.get("Architectures"), self._architectures)
        configuration.check_code_source(request, "updating")
        if request.get("PublishTo"):
            raise errors.unsupported("PublishTo")
        function = _changeable(name, self._registry.find(name.key), request.get("RevisionId"))
        if request.get("DryRun"):
            return await self._dry_run(context, name, function, request)
        stored = await self._code.store(self._zip(context, request))

        def decide(old: Function | None) -> Change[Output]:
            function = _changeable(name, old, request.get("RevisionId"))
            latest = configuration.update_code(function.latest, _reference(stored), request.get("Architectures"), self._world.ids())
            layers_used.check_size(latest.code_unzipped_bytes, latest.layers)
            changed = replace(function, latest=lifecycle.updated(latest))
            changed, shown = self._publish(changed) if request.get("Publish") else (changed, changed.latest)
            self._require_storage(context, function, changed)
            shown_arn = shown.qualified_arn if request.get("Publish") else name.qualified_arn
            return Change(changed, presentation.configuration(shown, shown_arn))

        return await self._registry.change(name.key, decide)

    async def _dry_run(self, context: CallContext, name: names.Named, function: Function, request: dict[str, Any]) -> Output:
        """Say what the configuration would be; change nothing."""
        checked = await self._code.check(self._zip(context, request))
        latest = function.latest
        unchanged = configuration.Ids(
            revision_id=latest.revision_id, deployment_id=latest.deployment_id, last_modified=latest.last_modified
        )
        latest = configuration.update_code(latest, _reference(checked), request.get("Architectures"), unchanged)
        layers_used.check_size(latest.code_unzipped_bytes, latest.layers)
        return presentation.configuration(latest, name.qualified_arn)

    # --- delete

    async def delete_function(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Delete a function with all that belongs to it, or one published version."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        if name.qualifier == LATEST:
            raise errors.InvalidParameterValue("$LATEST version cannot be deleted without deleting the function.")
        if name.qualifier is not None and not name.qualifier.isdigit() and not name.qualifier.startswith("$"):
            raise errors.InvalidParameterValue("Deletion of aliases is not currently supported.")

        def decide(function: Function | None) -> Change[Output]:
            if function is None:
                raise errors.function_not_found(name.arn)
            remaining = None if name.qualifier is None else _without_version(function, name.qualifier)
            return Change(remaining, {"StatusCode": 204})

        return await self._registry.change(name.key, decide)

    # --- steps

    def _zip(self, context: CallContext, source: dict[str, Any]) -> bytes | AsyncIterator[bytes]:
        """Give the zip of a request: what it carries, or what it names in S3."""
        zip_file: bytes | None = source.get("ZipFile")
        return zip_file if zip_file is not None else self._objects.fetch(context, source)

    async def _find_layers(self, context: CallContext, arns: Sequence[str] | None) -> tuple[LayerReference, ...] | None:
        """Resolve the layers of a request; None where it names none, () where it names an empty list."""
        if arns is None:
            return None
        layers_used.check(arns, context.region)
        return await self._layers.resolve(context, arns) if arns else ()

    def _publish(self, function: Function) -> tuple[Function, FunctionVersion]:
        published = versions.publish(
            function,
            description=None,
            new_revision_ids=(self._world.new_uuid(), self._world.new_uuid()),
            new_deployment_id=self._world.new_uuid(),
            settled=False,
        )
        return published.function, published.version

    def _require_storage(self, context: CallContext, old: Function | None, new: Function) -> None:
        added = usage.code_bytes(new) - (usage.code_bytes(old) if old is not None else 0)
        if added <= 0:
            return
        functions = self._registry.in_region(context.account, context.region)
        stored = sum(map(usage.code_bytes, functions)) + self._layers.stored_bytes(context.account, context.region)
        if stored + added > self._code_storage_bytes:
            raise errors.CodeStorageExceeded()

    def _require_absent(self, function: Function | None, name: str) -> None:
        if function is not None:
            raise errors.ResourceConflict(f"Function already exist: {name}")


def _changeable(name: names.Named, function: Function | None, revision_id: str | None) -> Function:
    """Give a function whose ``$LATEST`` may be changed now by someone who knows this revision of it."""
    if function is None:
        raise errors.function_not_found(name.arn)
    lifecycle.require_changeable(function)
    revisions.require(revision_id, function.latest.revision_id)
    return function


def _without_version(function: Function, version: str) -> Function:
    """Take a published version away; nothing happens where there is none of that number."""
    if version not in function.versions:
        return function
    pointing = aliases.pointing_at(function, version)
    if pointing:
        raise errors.ResourceConflict(
            f"Version {version} of {arn.function(*function.key)} cannot be deleted because these aliases point at it: "
            + ", ".join(alias.name for alias in pointing)
        )
    return replace(
        function,
        versions={number: kept for number, kept in function.versions.items() if number != version},
        policies={qualifier: policy for qualifier, policy in function.policies.items() if qualifier != version},
        provisioned=provisioned.without(function, version),
        event_invoke_configs=event_invoke.without(function, version),
    )


def _reference(stored: StoredCode) -> configuration.CodeReference:
    return configuration.CodeReference(sha256=stored.sha256, size_bytes=stored.size_bytes, unzipped_bytes=stored.unzipped_bytes)


def _position(version: FunctionVersion) -> str:
    """Give a version's place in a list of functions; NUL sorts before all that a name may hold."""
    return f"{version.name}\0{paging.number(version.version)}"

"""Layers: publish, show, list and delete their versions, and find those that functions refer to.

A layer is nothing but a name and a number that counts up; all else belongs to its versions. Functions keep what they need of a layer
version when they refer to it, so deleting one takes nothing away from them.

Source: Lambda API Reference, the operations on layers; texts were recorded from the service.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from lambdad.model import arn, limits
from lambdad.model.function import LayerReference
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.layer_rows import LayerDetails, LayerRows, LayerVersion
from lambdad.services.lambda_.ports import Code, Objects, StoredCode
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.rules import layer_names, paging, policies, presentation, usage
from lambdad.services.lambda_.rules.layer_names import NamedLayer
from lambdad.services.ports import CallContext, Handler
from lambdad.store.database import Connection, Database

Output = dict[str, Any]


class Layers:
    """The operations on layers, and `ports.LayerResolver`.

    Call `load` once before anything else. All methods belong to the event loop's thread.

    Args:
        objects: where content in S3 comes from.
        link: gives the URL from which the caller may fetch a zip, by its SHA-256 in hex.
        now_ms: Unix time in milliseconds.
        code_storage_bytes: per account and region, functions and layers together.
    """

    def __init__(
        self,
        database: Database,
        registry: Registry,
        code: Code,
        *,
        objects: Objects,
        link: Callable[[CallContext, str], str],
        now_ms: Callable[[], int],
        code_storage_bytes: int = limits.CODE_STORAGE_BYTES,
    ) -> None:
        self._database = database
        self._registry = registry
        self._code = code
        self._objects = objects
        self._link = link
        self._now_ms = now_ms
        self._code_storage_bytes = code_storage_bytes
        self._rows = LayerRows()
        self._stored_bytes: defaultdict[tuple[str, str], int] = defaultdict(int)

    async def load(self) -> None:
        """Read how much is stored."""
        self._stored_bytes.update(await self._database.read(self._rows.code_sizes))

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PublishLayerVersion": self.publish_layer_version,
            "GetLayerVersion": self.get_layer_version,
            "GetLayerVersionByArn": self.get_layer_version_by_arn,
            "ListLayerVersions": self.list_layer_versions,
            "ListLayers": self.list_layers,
            "DeleteLayerVersion": self.delete_layer_version,
        }

    # --- what functions need

    async def resolve(self, context: CallContext, arns: Sequence[str]) -> tuple[LayerReference, ...]:
        """
        Find layer versions for a function.

        Args:
            arns: of layer versions, already checked as a list by `layers_used.check`.

        Raises:
            InvalidParameterValue: one does not exist.
            AccessDenied: one is another account's, and that account does not let the caller use it.
        """

        def find(connection: Connection) -> list[LayerVersion]:
            return [self._usable(connection, context, layer_version_arn) for layer_version_arn in arns]

        found = await self._database.read(find)
        return tuple(
            LayerReference(layer_version_arn, each.code_sha256, each.code_size_bytes, each.unzipped_bytes)
            for layer_version_arn, each in zip(arns, found, strict=True)
        )

    def stored_bytes(self, account: str, region: str) -> int:
        """Give the bytes (zipped) of all layer versions that an account keeps in a region."""
        return self._stored_bytes.get((account, region), 0)

    async def code_hashes(self) -> set[str]:
        """Give the SHA-256 (hex) of every zip that a layer version is made of, for `Code.collect`."""
        return await self._database.read(self._rows.code_hashes)

    # --- operations

    async def publish_layer_version(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Make a new version of a layer, and the layer if there is none of that name."""
        named = layer_names.own(context, request["LayerName"], "PublishLayerVersion")
        stored = await self._code.store(self._zip(context, request["Content"]))
        self._require_storage(context, stored)
        details = LayerDetails(
            description=request.get("Description", ""),
            created_date=presentation.timestamp(self._now_ms()),
            compatible_runtimes=_given(request, "CompatibleRuntimes"),
            compatible_architectures=_given(request, "CompatibleArchitectures"),
            license_info=request.get("LicenseInfo"),
        )

        def insert(connection: Connection) -> LayerVersion:
            return self._rows.insert(
                connection,
                {"account": named.account, "region": named.region, "name": named.name},
                code_sha256=stored.sha256,
                code_size_bytes=stored.size_bytes,
                unzipped_bytes=stored.unzipped_bytes,
                details=details,
            )

        made = await self._database.write(insert)
        self._stored_bytes[named.account, named.region] += made.code_size_bytes
        return self._shown(context, made)

    async def get_layer_version(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a layer version and a link to its zip."""
        named = layer_names.named(context, request["LayerName"])
        number = layer_names.version(request["VersionNumber"])
        return self._shown(context, await self._get(context, named, number))

    async def get_layer_version_by_arn(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a layer version, by its ARN."""
        reference = arn.parse_layer_version(request["Arn"])
        if reference is None:
            raise errors.ResourceNotFound(layer_names.NO_SUCH_RESOURCE)
        named = NamedLayer(reference.account, reference.region, reference.name)
        return self._shown(context, await self._get(context, named, layer_names.version(reference.version)))

    async def list_layer_versions(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List a layer's versions, newest first."""
        named = layer_names.own(context, request["LayerName"], "ListLayerVersions")
        found = await self._database.read(lambda connection: self._rows.of_layer(connection, named.account, named.region, named.name))
        matching = [each for each in found if _matches(each, request)]
        shown, next_marker = paging.page(matching, _newest_first, request.get("Marker"), request.get("MaxItems"))
        return _page("LayerVersions", [_in_list(each) for each in shown], next_marker)

    async def list_layers(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List layers, each with its newest version that matches."""
        found = await self._database.read(lambda connection: self._rows.in_region(connection, context.account, context.region))
        newest: dict[str, LayerVersion] = {}
        for each in found:
            if _matches(each, request):
                newest.setdefault(each.name, each)
        by_name = [newest[name] for name in sorted(newest)]
        shown, next_marker = paging.page(by_name, _name, request.get("Marker"), request.get("MaxItems"))
        items = [{"LayerName": each.name, "LayerArn": each.layer_arn, "LatestMatchingVersion": _in_list(each)} for each in shown]
        return _page("Layers", items, next_marker)

    async def delete_layer_version(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Delete a layer version; one that is not there is as good as deleted."""
        named = layer_names.own(context, request["LayerName"], "DeleteLayerVersion")
        number = layer_names.version(request["VersionNumber"])

        def delete(connection: Connection) -> int:
            found = self._rows.find(connection, named.account, named.region, named.name, number)
            return found.code_size_bytes if found is not None and self._rows.delete(connection, found) else 0

        freed_bytes = await self._database.write(delete)
        self._stored_bytes[named.account, named.region] -= freed_bytes
        return {}

    # --- steps

    async def _get(self, context: CallContext, named: NamedLayer, number: int) -> LayerVersion:
        """
        Find a version that the caller may see.

        Raises:
            ResourceNotFound: there is none.
            AccessDenied: it is another account's, and not shared; whether it exists is not told.
        """
        if named.region != context.region:
            raise errors.ResourceNotFound(layer_names.NO_SUCH_RESOURCE)
        found = await self._database.read(lambda connection: self._rows.find(connection, named.account, named.region, named.name, number))
        if named.account != context.account and (found is None or not policies.may_get_layer_version(found.policy, context.account)):
            raise layer_names.not_authorized(context, "GetLayerVersion", named.version_arn(number))
        if found is None:
            raise errors.ResourceNotFound(layer_names.NO_SUCH_RESOURCE)
        return found

    def _usable(self, connection: Connection, context: CallContext, layer_version_arn: str) -> LayerVersion:
        reference = arn.parse_layer_version(layer_version_arn)
        found = None
        if reference is not None:
            found = self._rows.find(connection, reference.account, reference.region, reference.name, reference.version)
            if reference.account != context.account and (
                found is None or not policies.may_get_layer_version(found.policy, context.account)
            ):
                raise layer_names.not_authorized(context, "GetLayerVersion", layer_version_arn)
        if found is None:
            raise errors.InvalidParameterValue(f"Layer version {layer_version_arn} does not exist.")
        return found

    def _zip(self, context: CallContext, content: dict[str, Any]) -> bytes | AsyncIterator[bytes]:
        """Give the zip of a request: what it carries, or what it names in S3."""
        zip_file: bytes | None = content.get("ZipFile")
        in_s3 = any(content.get(name) for name in ("S3Bucket", "S3Key", "S3ObjectVersion"))
        if in_s3 and zip_file is not None:
            raise errors.InvalidParameterValue("Please do not provide other LayerVersionContentInput parameters when providing a ZipFile.")
        if content.get("S3ObjectStorageMode") == "REFERENCE":
            raise errors.unsupported("S3ObjectStorageMode REFERENCE")
        if zip_file is not None:
            return zip_file
        if not (content.get("S3Bucket") and content.get("S3Key")):
            raise errors.InvalidParameterValue("Please provide a source for layer content.")
        return self._objects.fetch(context, content)

    def _require_storage(self, context: CallContext, added: StoredCode) -> None:
        functions = self._registry.in_region(context.account, context.region)
        stored = sum(map(usage.code_bytes, functions)) + self.stored_bytes(context.account, context.region)
        if stored + added.size_bytes > self._code_storage_bytes:
            raise errors.CodeStorageExceeded()

    def _shown(self, context: CallContext, layer_version: LayerVersion) -> Output:
        content = {
            "Location": self._link(context, layer_version.code_sha256),
            "CodeSha256": presentation.code_sha256(layer_version.code_sha256),
            "CodeSize": layer_version.code_size_bytes,
        }
        return {"Content": content, "LayerArn": layer_version.layer_arn, **_in_list(layer_version)}


def _given(request: dict[str, Any], name: str) -> tuple[str, ...] | None:
    values = request.get(name)
    return tuple(values) if values is not None else None


def _matches(layer_version: LayerVersion, request: dict[str, Any]) -> bool:
    runtime, architecture = request.get("CompatibleRuntime"), request.get("CompatibleArchitecture")
    details = layer_version.details
    return (runtime is None or runtime in (details.compatible_runtimes or ())) and (
        architecture is None or architecture in (details.compatible_architectures or ())
    )


def _in_list(layer_version: LayerVersion) -> Output:
    details = layer_version.details
    shown: Output = {
        "LayerVersionArn": layer_version.arn,
        "Version": layer_version.version,
        "Description": details.description,
        "CreatedDate": details.created_date,
    }
    if details.compatible_runtimes is not None:
        shown["CompatibleRuntimes"] = list(details.compatible_runtimes)
    if details.compatible_architectures is not None:
        shown["CompatibleArchitectures"] = list(details.compatible_architectures)
    if details.license_info is not None:
        shown["LicenseInfo"] = details.license_info
    return shown


def _page(name: str, items: list[Output], next_marker: str | None) -> Output:
    return {name: items} if next_marker is None else {name: items, "NextMarker": next_marker}


def _name(layer_version: LayerVersion) -> str:
    return layer_version.name


def _newest_first(layer_version: LayerVersion) -> str:
    """Give a version's place in an order that falls with its number."""
    return f"{10**10 - layer_version.version:011}"

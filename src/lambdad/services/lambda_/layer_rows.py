"""Layer versions as rows. Synchronous functions on a `Connection`; which thread and transaction they run in is the caller's matter."""

from dataclasses import dataclass
from typing import Any

import msgspec

from lambdad.model import arn
from lambdad.store import queries
from lambdad.store.database import Connection

_VERSION_MAX = 2**31 - 1  # what the column holds in every database


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDetails:
    """What is only shown. None: was not given; (): was given empty, and is shown empty."""

    description: str
    created_date: str  # "2025-11-25T02:50:43.000+0000"
    compatible_runtimes: tuple[str, ...] | None = None
    compatible_architectures: tuple[str, ...] | None = None
    license_info: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersion:
    """One version of a layer; immutable but for its policy."""

    account: str
    region: str
    name: str
    version: int
    code_sha256: str  # hex
    code_size_bytes: int  # zipped
    unzipped_bytes: int
    details: LayerDetails
    policy: str | None = None
    policy_revision_id: str | None = None

    @property
    def layer_arn(self) -> str:
        """The ARN without the version."""
        return arn.layer(self.account, self.region, self.name)

    @property
    def arn(self) -> str:
        """The ARN with the version."""
        return arn.layer_version(self.account, self.region, self.name, self.version)


class LayerRows:
    """The tables of layers and their versions."""

    def __init__(self) -> None:
        self._queries = queries.load_queries("lambdad.services.lambda_", "layers.sql")

    def insert(
        self,
        connection: Connection,
        place: dict[str, str],
        *,
        code_sha256: str,
        code_size_bytes: int,
        unzipped_bytes: int,
        details: LayerDetails,
    ) -> LayerVersion:
        """
        Add a version under the layer's next number.

        Args:
            place: account, region and name.
        """
        row = connection.one(self._queries.next_layer_version, **place)
        assert row is not None
        made = LayerVersion(
            account=place["account"],
            region=place["region"],
            name=place["name"],
            version=row["last_version"],
            code_sha256=code_sha256,
            code_size_bytes=code_size_bytes,
            unzipped_bytes=unzipped_bytes,
            details=details,
        )
        connection.run(
            self._queries.insert_layer_version,
            **place,
            version=made.version,
            code_sha256=code_sha256,
            code_size_bytes=code_size_bytes,
            unzipped_bytes=unzipped_bytes,
            details=msgspec.json.encode(details).decode(),
        )
        return made

    def find(self, connection: Connection, account: str, region: str, name: str, version: int) -> LayerVersion | None:
        """Give one version; None where there is none."""
        if not 0 < version <= _VERSION_MAX:
            return None
        row = connection.one(self._queries.layer_version, account=account, region=region, name=name, version=version)
        return _layer_version(row) if row is not None else None

    def of_layer(self, connection: Connection, account: str, region: str, name: str) -> list[LayerVersion]:
        """Give a layer's versions, newest first."""
        rows = connection.all(self._queries.versions_of_layer, account=account, region=region, name=name)
        return [_layer_version(row) for row in rows]

    def in_region(self, connection: Connection, account: str, region: str) -> list[LayerVersion]:
        """Give all versions of all layers, by name and newest first."""
        rows = connection.all(self._queries.layer_versions_in_region, account=account, region=region)
        return [_layer_version(row) for row in rows]

    def delete(self, connection: Connection, layer_version: LayerVersion) -> bool:
        """Remove a version; False where another was faster."""
        return connection.run(self._queries.delete_layer_version, **_key(layer_version)) == 1

    def put_policy(self, connection: Connection, layer_version: LayerVersion, policy: str | None, revision_id: str | None) -> None:
        """Write a version's policy; None removes it."""
        connection.run(
            self._queries.put_layer_version_policy,
            **_key(layer_version),
            policy=policy,
            policy_revision_id=revision_id,
        )

    def code_sizes(self, connection: Connection) -> dict[tuple[str, str], int]:
        """Sum up the zipped bytes of all versions, by account and region."""
        rows = connection.all(self._queries.layer_code_sizes)
        return {(row["account"], row["region"]): int(row["size_bytes"]) for row in rows}

    def code_hashes(self, connection: Connection) -> set[str]:
        """Give the hashes of all versions' zips."""
        return {row["code_sha256"] for row in connection.all(self._queries.layer_code_hashes)}


def _key(layer_version: LayerVersion) -> dict[str, Any]:
    return {
        "account": layer_version.account,
        "region": layer_version.region,
        "name": layer_version.name,
        "version": layer_version.version,
    }


def _layer_version(row: Any) -> LayerVersion:
    return LayerVersion(**{**row, "details": msgspec.json.decode(row["details"], type=LayerDetails)})

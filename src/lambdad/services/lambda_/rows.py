"""Functions as rows: load them all at start, write the difference that a change made.

Synchronous functions on a `Connection`; which thread and transaction they run in is the caller's matter. A value is stored as
the JSON of its dataclass, so a field that is added later must have a default.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from lambdad.model.function import LATEST, Alias, EventInvokeConfig, Function, FunctionKey, FunctionVersion, ProvisionedConcurrency
from lambdad.store import queries
from lambdad.store.database import Connection


class FunctionRows:
    """The tables of functions, versions, aliases, provisioned concurrency and configurations of asynchronous invocation."""

    def __init__(self) -> None:
        self._queries = queries.load_queries("lambdad.services.lambda_", "queries.sql")

    def load(self, connection: Connection) -> list[Function]:
        """Read all functions of all accounts."""
        versions: defaultdict[FunctionKey, dict[str, FunctionVersion]] = defaultdict(dict)
        for row in connection.all(self._queries.all_function_versions):
            versions[_key(row)][row["version"]] = msgspec.json.decode(row["configuration"], type=FunctionVersion)
        aliases: defaultdict[FunctionKey, dict[str, Alias]] = defaultdict(dict)
        for row in connection.all(self._queries.all_function_aliases):
            aliases[_key(row)][row["alias"]] = msgspec.json.decode(row["configuration"], type=Alias)
        provisioned: defaultdict[FunctionKey, dict[str, ProvisionedConcurrency]] = defaultdict(dict)
        for row in connection.all(self._queries.all_provisioned_concurrency):
            value = ProvisionedConcurrency(requested=row["requested"], last_modified=row["last_modified"])
            provisioned[_key(row)][row["qualifier"]] = value
        event_invoke: defaultdict[FunctionKey, dict[str, EventInvokeConfig]] = defaultdict(dict)
        for row in connection.all(self._queries.all_event_invoke_configs):
            event_invoke[_key(row)][row["qualifier"]] = EventInvokeConfig(
                maximum_retry_attempts=row["maximum_retry_attempts"],
                maximum_event_age_s=row["maximum_event_age_s"],
                on_success=row["on_success"],
                on_failure=row["on_failure"],
                last_modified_ms=row["last_modified_ms"],
            )
        numbering = self.numbering(connection)
        functions = []
        for row in connection.all(self._queries.all_functions):
            key = _key(row)
            published = versions[key]
            latest = published.pop(LATEST)
            functions.append(
                Function(
                    account=key.account,
                    region=key.region,
                    name=key.name,
                    latest=latest,
                    serving=_serving(row["serving"], latest),
                    versions={number: published[number] for number in sorted(published, key=int)},
                    aliases={name: aliases[key][name] for name in sorted(aliases[key])},
                    policies=msgspec.json.decode(row["policies"], type=dict[str, str]),
                    tags=msgspec.json.decode(row["tags"], type=dict[str, str]),
                    reserved_concurrency=row["reserved_concurrency"],
                    provisioned={qualifier: provisioned[key][qualifier] for qualifier in sorted(provisioned[key])},
                    event_invoke_configs={qualifier: event_invoke[key][qualifier] for qualifier in sorted(event_invoke[key])},
                    next_version=numbering.get(key, 1),
                )
            )
        return functions

    def numbering(self, connection: Connection) -> dict[FunctionKey, int]:
        """Read the next version's number of every function that ever published one, deleted functions too."""
        return {_key(row): row["next_version"] for row in connection.all(self._queries.all_function_numbering)}

    def save(self, connection: Connection, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        """Write what differs between two states of a function; None stands for "does not exist"."""
        place = key._asdict()
        if new is None:
            connection.run(self._queries.delete_function, **place)
            connection.run(self._queries.delete_function_versions, **place)
            connection.run(self._queries.delete_function_aliases, **place)
            connection.run(self._queries.delete_function_provisioned_concurrency, **place)
            connection.run(self._queries.delete_function_event_invoke_configs, **place)
            return
        connection.run(
            self._queries.put_function,
            **place,
            serving=_serving_text(new),
            policies=_json(new.policies),
            tags=_json(new.tags),
            reserved_concurrency=new.reserved_concurrency,
        )
        if new.next_version != (old.next_version if old is not None else 1):
            connection.run(self._queries.put_function_numbering, **place, next_version=new.next_version)
        self._save_versions(connection, place, _versions(old), _versions(new))
        self._save_aliases(connection, place, dict(old.aliases) if old is not None else {}, dict(new.aliases))
        self._save_provisioned(connection, place, dict(old.provisioned) if old is not None else {}, dict(new.provisioned))
        self._save_event_invoke(connection, place, old.event_invoke_configs if old is not None else {}, new.event_invoke_configs)

    def _save_versions(
        self,
        connection: Connection,
        place: dict[str, Any],
        old: dict[str, FunctionVersion],
        new: dict[str, FunctionVersion],
    ) -> None:
        for number, version in new.items():
            if old.get(number) is not version:
                connection.run(
                    self._queries.put_function_version,
                    **place,
                    version=number,
                    code_sha256=version.code_sha256,
                    configuration=_json(version),
                )
        for number in old.keys() - new.keys():
            connection.run(self._queries.delete_function_version, **place, version=number)

    def _save_aliases(self, connection: Connection, place: dict[str, Any], old: dict[str, Alias], new: dict[str, Alias]) -> None:
        for name, alias in new.items():
            if old.get(name) is not alias:
                connection.run(self._queries.put_function_alias, **place, alias=name, configuration=_json(alias))
        for name in old.keys() - new.keys():
            connection.run(self._queries.delete_function_alias, **place, alias=name)

    def _save_provisioned(
        self,
        connection: Connection,
        place: dict[str, Any],
        old: dict[str, ProvisionedConcurrency],
        new: dict[str, ProvisionedConcurrency],
    ) -> None:
        for qualifier, value in new.items():
            if old.get(qualifier) is not value:
                connection.run(
                    self._queries.put_provisioned_concurrency,
                    **place,
                    qualifier=qualifier,
                    requested=value.requested,
                    last_modified=value.last_modified,
                )
        for qualifier in old.keys() - new.keys():
            connection.run(self._queries.delete_provisioned_concurrency, **place, qualifier=qualifier)

    def _save_event_invoke(
        self,
        connection: Connection,
        place: dict[str, Any],
        old: Mapping[str, EventInvokeConfig],
        new: Mapping[str, EventInvokeConfig],
    ) -> None:
        for qualifier, value in new.items():
            if old.get(qualifier) is not value:
                connection.run(
                    self._queries.put_event_invoke_config,
                    **place,
                    qualifier=qualifier,
                    maximum_retry_attempts=value.maximum_retry_attempts,
                    maximum_event_age_s=value.maximum_event_age_s,
                    on_success=value.on_success,
                    on_failure=value.on_failure,
                    last_modified_ms=value.last_modified_ms,
                )
        for qualifier in old.keys() - new.keys():
            connection.run(self._queries.delete_event_invoke_config, **place, qualifier=qualifier)


def _key(row: Any) -> FunctionKey:
    return FunctionKey(row["account"], row["region"], row["name"])


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _versions(function: Function | None) -> dict[str, FunctionVersion]:
    return {LATEST: function.latest, **function.versions} if function is not None else {}


def _serving_text(function: Function) -> str | None:
    """Store what runs only where it is not what is shown; ``"latest"`` (JSON) stands for the common case."""
    if function.serving is None:
        return None
    return '"latest"' if function.serving is function.latest else _json(function.serving)


def _serving(text: str | None, latest: FunctionVersion) -> FunctionVersion | None:
    if text is None:
        return None
    return latest if text == '"latest"' else msgspec.json.decode(text, type=FunctionVersion)

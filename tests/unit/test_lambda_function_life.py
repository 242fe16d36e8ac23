"""A function's life under random operations, against a naive twin that only remembers what was acknowledged."""

import itertools
from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lambdad.model.errors import AwsError
from lambdad.model.function import (
    LATEST,
    Function,
    FunctionKey,
    FunctionVersion,
    LastUpdateStatus,
    State,
    StateReasonCode,
)
from lambdad.model.ids import AccountId, Region
from lambdad.services.lambda_.rules import aliases, configuration, lifecycle, revisions, routing, versions

KEY = FunctionKey(AccountId("000000000000"), Region("us-east-1"), "f")
PARAMETERS: dict[str, Any] = {"Runtime": "python3.12", "Handler": "h.h", "Role": "r"}


class FunctionLife(RuleBasedStateMachine):
    """Update, publish, prepare, fail, tag and point aliases, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self._numbers = itertools.count(1)
        self.settings = {"code": "00" * 32, "timeout": 3, "description": ""}  # the twin: what `$LATEST` shows
        self.runs: dict[str, Any] | None = None  # the twin: what `$LATEST` runs
        self.published: dict[str, dict[str, Any]] = {}
        self.revisions: set[str] = set()
        latest = configuration.create(KEY, PARAMETERS, self.code("00" * 32), (), self.ids())
        self.function = Function(account=KEY.account, region=KEY.region, name=KEY.name, latest=lifecycle.created(latest))
        self.preparing: list[FunctionVersion] = [self.function.latest]

    def new_id(self) -> str:
        return f"id-{next(self._numbers)}"

    def ids(self) -> configuration.Ids:
        return configuration.Ids(revision_id=self.new_id(), deployment_id=self.new_id(), last_modified="t")

    def code(self, digest: str) -> configuration.CodeReference:
        return configuration.CodeReference(sha256=digest, size_bytes=1, unzipped_bytes=1)

    @property
    def is_settled(self) -> bool:
        latest = self.function.latest
        return latest.state is State.ACTIVE and latest.last_update_status is not LastUpdateStatus.IN_PROGRESS

    def attempt(self) -> bool:
        """Say whether `$LATEST` may be changed; the rule must agree with the twin's opinion."""
        try:
            lifecycle.require_changeable(self.function)
        except AwsError as error:
            assert error.code == "ResourceConflictException" and not self.is_settled
            return False
        assert self.is_settled
        return True

    @rule(timeout=st.integers(1, 3), description=st.sampled_from(["", "d"]))
    def update_configuration(self, timeout: int, description: str) -> None:
        if self.attempt():
            parameters = {"Timeout": timeout, "Description": description}
            latest = configuration.update(self.function.latest, parameters, None, self.ids())
            self.function = replace(self.function, latest=lifecycle.updated(latest))
            self.preparing.append(self.function.latest)
            self.settings = {**self.settings, "timeout": timeout, "description": description}

    @rule(digest=st.sampled_from(["00" * 32, "11" * 32]))
    def update_code(self, digest: str) -> None:
        if self.attempt():
            latest = configuration.update_code(self.function.latest, self.code(digest), None, self.ids())
            self.function = replace(self.function, latest=lifecycle.updated(latest))
            self.preparing.append(self.function.latest)
            self.settings = {**self.settings, "code": digest}

    @rule(description=st.sampled_from([None, "of the version"]), is_settled=st.booleans())
    def publish(self, description: str | None, is_settled: bool) -> None:
        if not self.attempt():
            return
        before = self.function
        done = versions.publish(
            before,
            description=description,
            new_revision_ids=(self.new_id(), self.new_id()),
            new_deployment_id=self.new_id(),
            settled=is_settled,
        )
        last = max(self.published, key=int, default=None)
        if last is not None and self.published[last]["settings"] == self.settings:
            assert not done.is_new and done.function is before and done.version.version == last
            return
        assert done.is_new and done.version.version == str(before.next_version)
        assert done.function.latest.revision_id != before.latest.revision_id
        assert done.version.description == (self.settings["description"] if description is None else description)
        self.published[done.version.version] = {"settings": self.settings, "version": done.version}
        self.function = done.function
        if not is_settled:
            self.preparing.append(done.version)

    @precondition(lambda self: self.preparing)
    @rule(data=st.data(), succeeds=st.booleans())
    def finish_preparing(self, data: st.DataObject, succeeds: bool) -> None:
        version = self.preparing.pop(data.draw(st.integers(0, len(self.preparing) - 1)))
        if succeeds:
            self.function = lifecycle.prepared(self.function, version, self.new_id())
        else:
            self.function = lifecycle.failed(self.function, version, "no", StateReasonCode.INTERNAL_ERROR, self.new_id())
        assert lifecycle.prepared(self.function, version, "late") is self.function
        if version.version == LATEST:
            if succeeds:
                self.runs = self.settings
            elif self.runs is not None:
                self.settings = self.runs

    @rule()
    def tag(self) -> None:
        before = self.function
        self.function = revisions.touched(before, None, self.new_id())
        assert self.function.latest.deployment_id == before.latest.deployment_id
        assert self.function.latest.revision_id != before.latest.revision_id

    @rule(name=st.sampled_from(["a", "b"]), version=st.integers(1, 4), other=st.none() | st.integers(1, 4))
    def point_alias(self, name: str, version: int, other: int | None) -> None:
        weights = {} if other is None else {str(other): 0.5}
        request = {"Name": name, "FunctionVersion": str(version), "RoutingConfig": {"AdditionalVersionWeights": weights}}
        is_possible = str(version) in self.published and (other is None or (str(other) in self.published and other != version))
        try:
            if name in self.function.aliases:
                alias = aliases.update(self.function, self.function.aliases[name], request, self.new_id())
            else:
                alias = aliases.create(self.function, request, self.new_id())
        except AwsError:
            assert not is_possible
            return
        assert is_possible
        self.function = replace(self.function, aliases={**self.function.aliases, name: alias})

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def delete_version(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(sorted(self.published)))
        if not aliases.pointing_at(self.function, number):
            kept = {key: version for key, version in self.function.versions.items() if key != number}
            self.function = replace(self.function, versions=kept)
            del self.published[number]

    @invariant()
    def shows_and_runs_what_was_acknowledged(self) -> None:
        function = self.function
        assert described(function.latest) == self.settings
        assert (described(function.serving) if function.serving else None) == self.runs
        if function.latest.state is State.ACTIVE and function.latest.last_update_status is not LastUpdateStatus.IN_PROGRESS:
            assert function.serving is function.latest

    @invariant()
    def versions_never_change(self) -> None:
        assert self.function.versions.keys() == self.published.keys()
        for number, entry in self.published.items():
            now, then = self.function.versions[number], entry["version"]
            assert (now.deployment_id, now.code_sha256, now.timeout_s, now.description) == (
                then.deployment_id,
                then.code_sha256,
                then.timeout_s,
                then.description,
            )
        assert all(int(number) < self.function.next_version for number in self.published)

    @invariant()
    def aliases_point_at_what_is_there(self) -> None:
        for alias in self.function.aliases.values():
            for pick in (0.0, 0.4999, 0.5, 0.9999):
                assert routing.choose(alias, pick) in self.function.versions

    @invariant()
    def revisions_are_unique(self) -> None:
        resources = [self.function.latest, *self.function.versions.values(), *self.function.aliases.values()]
        assert len({resource.revision_id for resource in resources}) == len(resources)


def described(version: FunctionVersion) -> dict[str, Any]:
    return {"code": version.code_sha256, "timeout": version.timeout_s, "description": version.description}


FunctionLife.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestFunctionLife = FunctionLife.TestCase

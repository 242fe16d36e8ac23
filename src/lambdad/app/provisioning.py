"""Provisioned concurrency between the Lambda service, which knows what is wanted, and the data plane, which keeps it."""

import asyncio
from collections.abc import Iterable

from lambdad.dataplane.plane import DataPlane
from lambdad.machines.provisioned import Status
from lambdad.model.function import Alias, Function, FunctionKey, FunctionVersion, State
from lambdad.services.lambda_.ports import ProvisionedState
from lambdad.services.lambda_.rules import provisioned


class Provisioning:
    """Hears of changed functions and tells the data plane; says how far it has got.

    An alias that moves goes on routing as before until what it moves to is warm. That is in memory: after a restart it routes as it says.
    """

    def __init__(self, plane: DataPlane) -> None:
        self._plane = plane
        self._former: dict[tuple[FunctionKey, str], Alias] = {}  # aliases that have moved, as they were when they were last warm
        self._loop = asyncio.get_running_loop()

    def resume(self, functions: Iterable[Function]) -> None:
        """Have everything warmed that is wanted, after a start."""
        for function in functions:
            if function.provisioned:
                self._configure(function.key, function)

    def __call__(self, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        if old is not None and new is not None and new.provisioned:
            self._note_moves(old, new)
        for place in [place for place in self._former if place[0] == key and (new is None or place[1] not in new.provisioned)]:
            del self._former[place]
        if (old is not None and old.provisioned) or (new is not None and new.provisioned):
            self._configure(key, new)

    def _note_moves(self, old: Function, new: Function) -> None:
        for name, alias in new.aliases.items():
            before = old.aliases.get(name)
            if before is None or name not in old.provisioned or _routes(before) == _routes(alias):
                continue
            found = self._plane.provisioned_state(old.key, name)
            if found is not None and found[1] > 0:
                self._former.setdefault((old.key, name), before)

    def alias_in_effect(self, function: Function, alias: Alias) -> Alias:
        """Say what routes the invocations of a provisioned alias now; for `Registry.alias_in_effect`."""
        place = (function.key, alias.name)
        former = self._former.get(place)
        if former is None:
            return alias
        found = self._plane.provisioned_state(*place)
        is_warm = found is not None and found[0] is Status.READY
        if is_warm or not all(number in function.versions for number, _ in _routes(former)):
            del self._former[place]
            return alias
        return former

    def provisioned_state(self, key: FunctionKey, qualifier: str) -> ProvisionedState | None:
        """Say how far a configuration has got; None for one that has not been heard of yet."""
        found = self._plane.provisioned_state(key, qualifier)
        if found is None:
            return None
        status, ready, reason = found
        return ProvisionedState(status=status.value, ready=ready, reason=reason)

    def _configure(self, key: FunctionKey, function: Function | None) -> None:
        wanted: dict[str, list[tuple[FunctionVersion, int]]] = {}
        if function is not None:
            for qualifier in function.provisioned:
                shares = provisioned.shares(function, qualifier)
                versions = [(function.versions[number], share) for number, share in shares.items()]
                wanted[qualifier] = [(version, share) for version, share in versions if version.state is State.ACTIVE]
        self._plane.provisioned.configure(key, wanted, self._loop.time())


def _routes(alias: Alias) -> tuple[tuple[str, float], ...]:
    return ((alias.function_version, 1.0), *alias.additional)

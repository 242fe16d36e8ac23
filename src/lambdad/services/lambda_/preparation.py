"""The slow half of create, update and publish: make a version's code ready, then settle its state.

It hears of unsettled versions from the registry, so that neither a caller who goes away nor a restart leaves one behind.
"""

import logging
from collections.abc import Awaitable, Callable

from lambdad.model.function import LATEST, Function, FunctionKey, FunctionVersion, State, StateReasonCode
from lambdad.services.lambda_.ports import Bytecode, Code, PreparationFailed, Snapshots
from lambdad.services.lambda_.registry import Change, Registry, Spawn
from lambdad.services.lambda_.rules import lifecycle

log = logging.getLogger("lambdad.lambda.preparation")


class Preparation:
    """Prepares each new deployment once, in a task of its own.

    Args:
        warm: has the worker make ready what a first invocation would wait for; returns soon in any case, and never raises.
    """

    def __init__(
        self,
        registry: Registry,
        code: Code,
        snapshots: Snapshots | None = None,
        *,
        spawn: Spawn,
        new_uuid: Callable[[], str],
        warm: Callable[[FunctionVersion], Awaitable[None]],
        bytecode: Bytecode | None = None,
    ) -> None:
        self._registry = registry
        self._code = code
        self._bytecode = bytecode
        self._snapshots = snapshots
        self._spawn = spawn
        self._new_uuid = new_uuid
        self._warm = warm
        registry.on_change(self._changed)

    def resume(self) -> None:
        """
        Begin with everything that a former process left Pending or InProgress, and make again what has been lost of the rest.

        Call once, after `Registry.load`.
        """
        for function in self._registry.everything():
            self._changed(function.key, None, function)
            for version in function.versions.values():
                if version.has_snapshots and version.state is State.ACTIVE and self._snapshots is not None:
                    self._snapshots.expect(version)
        self._spawn(self._restore())

    async def _restore(self) -> None:
        """Unpack what is not there: backups need only the zips. For what is there this costs next to nothing."""
        for function in list(self._registry.everything()):
            for version in (function.latest, *([function.serving] if function.serving else []), *function.versions.values()):
                if lifecycle.is_unsettled(version):
                    continue
                try:
                    await self._make_ready(version)
                except PreparationFailed as error:
                    log.error("function.restore.failed function=%s reason=%s", version.qualified_arn, error.reason)

    def _changed(self, key: FunctionKey, old: Function | None, new: Function | None) -> None:
        if new is None:
            return
        for number in (LATEST, *new.versions):
            version = new.version(number)
            before = old.version(number) if old is not None else None
            is_new = before is None or version is None or before.deployment_id != version.deployment_id
            if version is not None and is_new and lifecycle.is_unsettled(version):
                self._spawn(self._prepare(version))

    async def _make_ready(self, version: FunctionVersion) -> None:
        await self._code.prepare(version)
        if self._bytecode is not None:
            await self._bytecode.add(version)

    async def _prepare(self, version: FunctionVersion) -> None:
        try:
            await self._make_ready(version)
            await self._warm(version)
            if version.has_snapshots and self._snapshots is not None:
                await self._snapshots.build(version)
        except PreparationFailed as error:
            log.warning("function.prepare.failed function=%s reason=%s", version.qualified_arn, error.reason)
            await self._fail(version, error.reason, error.code)
        except Exception:  # one version's code must not end the server; it is shown as Failed, and can be deployed again
            log.exception("function.prepare.failed function=%s", version.qualified_arn)
            await self._fail(version, "The function's code could not be prepared.", StateReasonCode.INTERNAL_ERROR)
        else:
            await self._settle(version, lambda function: lifecycle.prepared(function, version, self._new_uuid()))

    async def _fail(self, version: FunctionVersion, reason: str, code: StateReasonCode) -> None:
        await self._settle(version, lambda function: lifecycle.failed(function, version, reason, code, self._new_uuid()))

    async def _settle(self, version: FunctionVersion, step: Callable[[Function], Function]) -> None:
        def decide(function: Function | None) -> Change[None]:
            return Change(step(function) if function is not None else None, None)

        await self._registry.change(version.key, decide)

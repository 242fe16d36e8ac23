"""Provisioned concurrency: how many environments of a version or an alias are kept initialised.

The row says what is wanted. How far it has got is asked of the data plane, and begins anew after a restart.

Source: Lambda API Reference, PutProvisionedConcurrencyConfig and its siblings.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lambdad.model import limits
from lambdad.model.function import Function, ProvisionedConcurrency
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.functions import World
from lambdad.services.lambda_.ports import ProvisionedState, Provisioner
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import names, paging, presentation, provisioned
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]

IN_PROGRESS = "IN_PROGRESS"
FAILED = "FAILED"


class ProvisionedConcurrencyConfigs:
    """The operations on provisioned concurrency.

    Args:
        account_limit: concurrent executions of an account in a region.
        unreserved_min: how many of them must stay unreserved.
    """

    def __init__(
        self,
        registry: Registry,
        provisioner: Provisioner,
        world: World,
        *,
        account_limit: int = limits.CONCURRENT_EXECUTIONS,
        unreserved_min: int = limits.UNRESERVED_CONCURRENT_EXECUTIONS_MIN,
    ) -> None:
        self._registry = registry
        self._provisioner = provisioner
        self._world = world
        self._account_limit = account_limit
        self._unreserved_min = unreserved_min

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutProvisionedConcurrencyConfig": self.put_provisioned_concurrency_config,
            "GetProvisionedConcurrencyConfig": self.get_provisioned_concurrency_config,
            "DeleteProvisionedConcurrencyConfig": self.delete_provisioned_concurrency_config,
            "ListProvisionedConcurrencyConfigs": self.list_provisioned_concurrency_configs,
        }

    async def put_provisioned_concurrency_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Have environments of a version or an alias initialised ahead of invocations, and kept so."""
        name = names.named(context.account, context.region, request["FunctionName"], request["Qualifier"])
        qualifier = provisioned.require_published(name.qualifier)
        wanted: int = request["ProvisionedConcurrentExecutions"]

        def decide(old: Function | None) -> Change[Output]:
            function = provisioned.require_target(old, name.arn, qualifier)
            claimed_by_others = self._registry.claimed(*name.key[:2]) - function.claimed_concurrency
            provisioned.check(
                function,
                qualifier,
                wanted,
                claimed_by_others=claimed_by_others,
                account_limit=self._account_limit,
                unreserved_min=self._unreserved_min,
            )
            config = ProvisionedConcurrency(requested=wanted, last_modified=presentation.timestamp_s(self._world.now_ms()))
            configs = dict(sorted({**function.provisioned, qualifier: config}.items()))
            return Change(replace(function, provisioned=configs), _shown(config, ProvisionedState(status=IN_PROGRESS, ready=0)))

        return await self._registry.change(name.key, decide, account_wide=True)

    async def get_provisioned_concurrency_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show what was asked for, and how far it has got."""
        name = names.named(context.account, context.region, request["FunctionName"], request["Qualifier"])
        qualifier = provisioned.require_qualifier(name.qualifier)
        function = provisioned.require_target(self._registry.find(name.key), name.arn, qualifier)
        config = function.provisioned.get(qualifier)
        if config is None:
            raise errors.NoProvisionedConcurrency()
        return _shown(config, self._state(function, qualifier))

    async def delete_provisioned_concurrency_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """End what is provisioned; nothing happens where nothing is."""
        name = names.named(context.account, context.region, request["FunctionName"], request["Qualifier"])
        qualifier = provisioned.require_qualifier(name.qualifier)

        def decide(old: Function | None) -> Change[Output]:
            function = provisioned.require_target(old, name.arn, qualifier)
            if qualifier not in function.provisioned:
                return Change(function, {})
            return Change(replace(function, provisioned=provisioned.without(function, qualifier)), {})

        return await self._registry.change(name.key, decide)

    async def list_provisioned_concurrency_configs(self, context: CallContext, request: dict[str, Any]) -> Output:
        """List a function's configurations, by version or alias."""
        name = names.named(context.account, context.region, request["FunctionName"])
        function = self._registry.find(name.key)
        if function is None:
            raise errors.function_not_found(name.arn)
        qualifiers = sorted(function.provisioned)
        shown, next_marker = paging.page(qualifiers, lambda qualifier: qualifier, request.get("Marker"), request.get("MaxItems"))
        output: Output = {
            "ProvisionedConcurrencyConfigs": [
                {
                    "FunctionArn": provisioned.listed_arn(function, qualifier),
                    **_shown(function.provisioned[qualifier], self._state(function, qualifier)),
                }
                for qualifier in shown
            ]
        }
        if next_marker is not None:
            output["NextMarker"] = next_marker
        return output

    def _state(self, function: Function, qualifier: str) -> ProvisionedState:
        state = self._provisioner.provisioned_state(function.key, qualifier)
        return state if state is not None else ProvisionedState(status=IN_PROGRESS, ready=0)


def _shown(config: ProvisionedConcurrency, state: ProvisionedState) -> Output:
    ready = min(state.ready, config.requested) if state.status != FAILED else 0
    output: Output = {
        "RequestedProvisionedConcurrentExecutions": config.requested,
        "AvailableProvisionedConcurrentExecutions": ready,
        "AllocatedProvisionedConcurrentExecutions": ready,
        "Status": state.status,
        "LastModified": config.last_modified,
    }
    if state.reason:
        output["StatusReason"] = state.reason
    return output

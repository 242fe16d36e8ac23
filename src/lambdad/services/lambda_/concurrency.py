"""Reserved concurrency of functions."""

from dataclasses import replace
from typing import Any

from lambdad.model import arn, limits
from lambdad.model.function import LATEST, Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import concurrency, names
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]


class Concurrency:
    """The operations on reservations.

    Args:
        account_limit: concurrent executions of an account in a region.
        unreserved_min: how many of them must stay unreserved.
    """

    def __init__(
        self,
        registry: Registry,
        *,
        account_limit: int = limits.CONCURRENT_EXECUTIONS,
        unreserved_min: int = limits.UNRESERVED_CONCURRENT_EXECUTIONS_MIN,
    ) -> None:
        self._registry = registry
        self._account_limit = account_limit
        self._unreserved_min = unreserved_min

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "PutFunctionConcurrency": self.put_function_concurrency,
            "GetFunctionConcurrency": self.get_function_concurrency,
            "DeleteFunctionConcurrency": self.delete_function_concurrency,
        }

    async def put_function_concurrency(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Reserve concurrency for a function; 0 keeps it from running."""
        name = names.whole_function(context.account, context.region, request["FunctionName"])
        wanted = request["ReservedConcurrentExecutions"]

        def decide(function: Function | None) -> Change[Output]:
            if function is None:
                raise errors.function_not_found(arn.function(*name.key, LATEST))
            others = self._registry.claimed(*name.key[:2]) - function.claimed_concurrency
            provisioned = function.provisioned_concurrency
            concurrency.check(wanted, others, self._account_limit, self._unreserved_min, provisioned=provisioned)
            return Change(replace(function, reserved_concurrency=wanted), {"ReservedConcurrentExecutions": wanted})

        return await self._registry.change(name.key, decide, account_wide=True)

    async def get_function_concurrency(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show a function's reservation; nothing where it has none."""
        name = names.whole_function(context.account, context.region, request["FunctionName"])
        function = self._registry.find(name.key)
        if function is None:
            raise errors.function_not_found(name.arn)
        reserved = function.reserved_concurrency
        return {} if reserved is None else {"ReservedConcurrentExecutions": reserved}

    async def delete_function_concurrency(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Give a function's reservation back."""
        name = names.whole_function(context.account, context.region, request["FunctionName"])

        def decide(function: Function | None) -> Change[Output]:
            if function is None:
                raise errors.function_not_found(name.arn)
            if function.reserved_concurrency is None:
                return Change(function, {})
            return Change(replace(function, reserved_concurrency=None), {})

        return await self._registry.change(name.key, decide)

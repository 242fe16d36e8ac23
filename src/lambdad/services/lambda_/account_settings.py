"""What an account may use of Lambda in a region, and what it uses."""

from typing import Any

from lambdad.model import limits
from lambdad.services.lambda_.ports import LayerResolver
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.rules import usage
from lambdad.services.ports import CallContext, Handler


class AccountSettings:
    """The operation on account settings.

    Args:
        account_limit: concurrent executions of an account in a region.
        code_storage_bytes: per account and region.
    """

    def __init__(
        self,
        registry: Registry,
        layers: LayerResolver,
        *,
        account_limit: int = limits.CONCURRENT_EXECUTIONS,
        code_storage_bytes: int = limits.CODE_STORAGE_BYTES,
    ) -> None:
        self._registry = registry
        self._layers = layers
        self._account_limit = account_limit
        self._code_storage_bytes = code_storage_bytes

    def handlers(self) -> dict[str, Handler]:
        """Give the operation by its AWS name."""
        return {"GetAccountSettings": self.get_account_settings}

    async def get_account_settings(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show limits and usage."""
        functions = self._registry.in_region(context.account, context.region)
        claimed = self._registry.claimed(context.account, context.region)
        stored = sum(map(usage.code_bytes, functions)) + self._layers.stored_bytes(context.account, context.region)
        return {
            "AccountLimit": {
                "TotalCodeSize": self._code_storage_bytes,
                "CodeSizeUnzipped": limits.UNZIPPED_BYTES,
                "CodeSizeZipped": limits.ZIPPED_BYTES,
                "ConcurrentExecutions": self._account_limit,
                "UnreservedConcurrentExecutions": self._account_limit - claimed,
            },
            "AccountUsage": {"TotalCodeSize": stored, "FunctionCount": len(functions)},
        }

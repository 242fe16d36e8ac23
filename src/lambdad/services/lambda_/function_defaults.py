"""Settings of a function that nothing here can change yet: read-only, with the default that is therefore true.

Deployment tools ask for them right after they created a function.
"""

from typing import Any

from lambdad.model.function import Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.registry import Registry
from lambdad.services.lambda_.rules import names
from lambdad.services.ports import CallContext, Handler

Output = dict[str, Any]


class FunctionDefaults:
    """The reading operations of code signing, runtime management and recursion."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def handlers(self) -> dict[str, Handler]:
        """Give the operations by their AWS names."""
        return {
            "GetFunctionCodeSigningConfig": self.get_function_code_signing_config,
            "GetRuntimeManagementConfig": self.get_runtime_management_config,
            "GetFunctionRecursionConfig": self.get_function_recursion_config,
        }

    async def get_function_code_signing_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Say that no code signing configuration is attached."""
        self._whole(context, request)
        return {}

    async def get_function_recursion_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show what is done about recursive loops."""
        self._whole(context, request)
        return {"RecursiveLoop": "Terminate"}

    async def get_runtime_management_config(self, context: CallContext, request: dict[str, Any]) -> Output:
        """Show when a version gets a newer runtime: always the one that this machine has."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        names.version_of(name, self._registry.find(name.key))
        return {"UpdateRuntimeOn": "Auto", "FunctionArn": name.qualified_arn}

    def _whole(self, context: CallContext, request: dict[str, Any]) -> Function:
        name = names.whole_function(context.account, context.region, request["FunctionName"])
        function = self._registry.find(name.key)
        if function is None:
            raise errors.function_not_found(name.arn)
        return function

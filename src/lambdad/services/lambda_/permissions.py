"""Permissions: who else may use a function, one of its versions or aliases. Stored and shown here; `invoke` asks them.

AddPermission, RemovePermission and GetPolicy work on single statements, the ResourcePolicy operations on the whole document of
the same resource. The policy is a part of its `Function`, so a change of it and the new RevisionId are one commit.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lambdad.model.function import LATEST, Function
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.registry import Change, Registry
from lambdad.services.lambda_.rules import names, policies, revisions
from lambdad.services.lambda_.rules.names import Named
from lambdad.services.ports import CallContext, Handler

_NO_SUCH_RESOURCE = "The resource you requested does not exist."
_REVISION_FROM = "GetPolicy"  # the call that PreconditionFailed's text names


class Permissions:
    """The resource policies of functions.

    Args:
        new_revision_id: makes UUIDs.
    """

    def __init__(self, registry: Registry, new_revision_id: Callable[[], str]) -> None:
        self._registry = registry
        self._new_revision_id = new_revision_id

    def handlers(self) -> Mapping[str, Handler]:
        """Give the operations of this chapter."""
        return {
            "AddPermission": self.add_permission,
            "RemovePermission": self.remove_permission,
            "GetPolicy": self.get_policy,
            "PutResourcePolicy": self.put_resource_policy,
            "GetResourcePolicy": self.get_resource_policy,
            "DeleteResourcePolicy": self.delete_resource_policy,
        }

    async def add_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Add one statement to the policy of a function, version or alias."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        if name.qualifier == LATEST:
            raise errors.InvalidParameterValue("We currently do not support adding policies for $LATEST.")
        statement = policies.statement(_grant(request), name.qualified_arn, context.region)

        def decide(function: Function | None) -> Change[str]:
            function = _existing(function, name)
            revisions.require(request.get("RevisionId"), revisions.current(function, name.qualifier), call=_REVISION_FROM)
            document = policies.add(function.policies.get(name.qualifier or ""), statement)
            return Change(self._with_policy(function, name.qualifier, document), policies.compact(statement))

        return {"Statement": await self._registry.change(name.key, decide)}

    async def remove_permission(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove one statement; with the last one the policy goes."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))

        def decide(function: Function | None) -> Change[None]:
            if function is None:
                raise errors.ResourceNotFound(f"No policy found for: {name.arn}")
            document = policies.remove(_policy(function, name.qualifier), request["StatementId"])
            revisions.require(request.get("RevisionId"), revisions.current(function, name.qualifier), call=_REVISION_FROM)
            return Change(self._with_policy(function, name.qualifier, document), None)

        await self._registry.change(name.key, decide)
        return {}

    async def get_policy(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show a policy and the RevisionId of the resource that carries it."""
        name = names.named(context.account, context.region, request["FunctionName"], request.get("Qualifier"))
        return self._shown(name)

    async def put_resource_policy(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Replace the whole policy of a function, version or alias."""
        name = names.named(context.account, context.region, request["ResourceArn"])
        if name.qualifier == LATEST:
            raise errors.InvalidParameterValue("We currently do not support adding policies for $LATEST.")
        document = policies.checked(request["Policy"])

        def decide(function: Function | None) -> Change[str]:
            function = _existing(function, name)
            revisions.require(request.get("RevisionId"), revisions.current(function, name.qualifier), call=_REVISION_FROM)
            changed = self._with_policy(function, name.qualifier, document)
            return Change(changed, revisions.current(changed, name.qualifier))

        return {"Policy": document, "RevisionId": await self._registry.change(name.key, decide)}

    async def get_resource_policy(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Show the whole policy."""
        return self._shown(names.named(context.account, context.region, request["ResourceArn"]))

    async def delete_resource_policy(self, context: CallContext, request: dict[str, Any]) -> dict[str, Any]:
        """Remove the whole policy."""
        name = names.named(context.account, context.region, request["ResourceArn"])

        def decide(function: Function | None) -> Change[None]:
            if function is None or _policy(function, name.qualifier) is None:
                raise errors.ResourceNotFound(_NO_SUCH_RESOURCE)
            revisions.require(request.get("RevisionId"), revisions.current(function, name.qualifier), call=_REVISION_FROM)
            return Change(self._with_policy(function, name.qualifier, None), None)

        await self._registry.change(name.key, decide)
        return {}

    def _shown(self, name: Named) -> dict[str, Any]:
        function = self._registry.find(name.key)
        document = _policy(function, name.qualifier) if function is not None else None
        if function is None or document is None:
            raise errors.ResourceNotFound(_NO_SUCH_RESOURCE)
        return {"Policy": document, "RevisionId": revisions.current(function, name.qualifier)}

    def _with_policy(self, function: Function, qualifier: str | None, document: str | None) -> Function:
        """Set or remove (None) a policy, and give its resource a new RevisionId."""
        changed = {key: text for key, text in function.policies.items() if key != (qualifier or "")}
        if document is not None:
            changed[qualifier or ""] = document
        return replace(revisions.touched(function, qualifier, self._new_revision_id()), policies=changed)


def _policy(function: Function, qualifier: str | None) -> str | None:
    """Give the policy of a resource; ``$LATEST`` has none, and neither has what no longer exists."""
    if qualifier and qualifier not in function.aliases and qualifier not in function.versions:
        return None
    return function.policies.get(qualifier or "")


def _existing(function: Function | None, name: Named) -> Function:
    """
    Require that the function, version or alias exists.

    Raises:
        ResourceNotFound: with the text for what is missing.
    """
    if function is None:
        raise errors.function_not_found(name.arn)
    if name.qualifier is None or name.qualifier in function.aliases or name.qualifier in function.versions:
        return function
    if name.qualifier.isdigit() or name.qualifier.startswith("$"):
        raise errors.function_not_found(name.qualified_arn)
    raise errors.ResourceNotFound(f"Cannot find alias arn: {name.qualified_arn}")


def _grant(request: Mapping[str, Any]) -> policies.Grant:
    return policies.Grant(
        sid=request["StatementId"],
        principal=request["Principal"],
        action=request["Action"],
        source_arn=request.get("SourceArn"),
        source_account=request.get("SourceAccount"),
        event_source_token=request.get("EventSourceToken"),
        function_url_auth_type=request.get("FunctionUrlAuthType"),
        principal_org_id=request.get("PrincipalOrgID"),
        invoked_via_function_url=request.get("InvokedViaFunctionUrl", False),
    )

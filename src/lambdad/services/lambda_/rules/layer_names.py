"""Which layer a caller means: the ``LayerName`` and ``VersionNumber`` parameters.

Source: Lambda API Reference, "LayerName" of each operation on layers.
"""

from dataclasses import dataclass

from lambdad.model import arn
from lambdad.services.lambda_ import errors
from lambdad.services.ports import CallContext

NO_SUCH_RESOURCE = "The resource you requested does not exist."


@dataclass(frozen=True, slots=True)
class NamedLayer:
    """The layer meant, which may not exist."""

    account: str
    region: str
    name: str

    def version_arn(self, version: int) -> str:
        """Give a version's ARN."""
        return arn.layer_version(self.account, self.region, self.name, version)


def named(context: CallContext, layer_name: str) -> NamedLayer:
    """Take a ``LayerName`` apart: a bare name, or an ARN ``arn:aws:lambda:R:A:layer:L``, which may be another account's."""
    if not layer_name.startswith("arn:"):
        return NamedLayer(context.account, context.region, layer_name)
    _, _, _, region, account, _, name = layer_name.split(":")
    return NamedLayer(account, region, name)


def own(context: CallContext, layer_name: str, operation: str) -> NamedLayer:
    """
    Say which of the caller's own layers is meant, for an operation that another account cannot be let do.

    Raises:
        AccessDenied: the ARN is of another account.
        ResourceNotFound: the ARN is of another region.
    """
    layer = named(context, layer_name)
    if layer.account != context.account:
        raise not_authorized(context, operation, layer_name)
    if layer.region != context.region:
        raise errors.ResourceNotFound(f"Layers from '{layer.region}' are not reachable in this region ('{context.region}')")
    return layer


def version(number: int) -> int:
    """
    Check a version's number.

    Raises:
        InvalidParameterValue: it is below 1.
    """
    if number < 1:
        raise errors.InvalidParameterValue("Layer Version Cannot be less than 1")
    return number


def not_authorized(context: CallContext, operation: str, resource: str) -> errors.AccessDenied:
    """Say that a layer's policy does not let the caller in."""
    return errors.AccessDenied(
        f"User: {context.principal_arn} is not authorized to perform: lambda:{operation} on resource: {resource} "
        f"because no resource-based policy allows the lambda:{operation} action"
    )

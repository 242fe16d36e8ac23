"""What may be the destination of a subscription filter, decided from the request alone."""

from typing import Any

from lambdad.model import arn
from lambdad.services.logs import errors
from lambdad.services.logs.rules import feeds

_WITH_ROLE = ("kinesis", "firehose")


def check(account: str, region: str, request: dict[str, Any]) -> str:
    """
    Check the destination of PutSubscriptionFilter, and what else is asked for.

    Args:
        account, region: of the group.

    Returns:
        The function's ARN.

    Raises:
        InvalidParameter: it is no destination, goes with a role or without one against the rules, or is something that is not here.
        CrossAccount: it is a function of another account.
        CannotExecute: it is a function of another region.
    """
    _check_options(request)
    destination: str = request["destinationArn"]
    parts = destination.split(":")
    if len(parts) < 6 or parts[0] != "arn":
        raise errors.InvalidParameter("Invalid destination ARN.")
    vendor = parts[2]
    if vendor in _WITH_ROLE:
        if not request.get("roleArn"):
            raise errors.InvalidParameter(f"destinationArn for vendor {vendor} cannot be used without roleArn")
        raise errors.InvalidParameter(f"lambdad has no {vendor} to deliver log events to; the destination must be a Lambda function.")
    if vendor == "logs":
        raise errors.InvalidParameter("lambdad has no logs destinations; the destination must be a Lambda function.")
    if vendor != "lambda":
        raise errors.InvalidParameter(f"PutSubscriptionFilter operation cannot work with destinationArn for vendor {vendor}")
    if request.get("roleArn"):
        raise errors.InvalidParameter("destinationArn for vendor lambda cannot be used with roleArn")
    function = arn.parse_function(destination)
    if function is None:
        raise errors.InvalidParameter("Invalid destination ARN.")
    if function.account != account:
        raise errors.CrossAccount
    if function.region != region:
        raise errors.CannotExecute
    return destination


def _check_options(request: dict[str, Any]) -> None:
    if request.get("applyOnTransformedLogs"):
        raise errors.InvalidParameter("The log group has no transformer; applyOnTransformedLogs cannot be true.")
    if request.get("fieldSelectionCriteria"):
        raise errors.InvalidParameter("lambdad does not have fieldSelectionCriteria; use the filter pattern.")
    for field in request.get("emitSystemFields", []):
        if field not in feeds.SYSTEM_FIELDS:
            raise errors.InvalidParameter(f"Invalid system field '{field}'. It must be one of {', '.join(feeds.SYSTEM_FIELDS)}.")

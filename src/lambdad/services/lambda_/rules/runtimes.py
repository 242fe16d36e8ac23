"""Which runtime identifiers a function may be created with or changed to.

The catalogue knows when AWS closes each runtime. Here one day counts, the one on which the catalogue was drawn up: on one's own
machines, a function that could be deployed yesterday can be deployed tomorrow, until lambdad itself is upgraded.

Source: Lambda developer guide, "Lambda runtimes".
"""

from collections.abc import Collection
from datetime import date
from hashlib import sha256

from lambdad.model import arn
from lambdad.runtimes import catalogue
from lambdad.runtimes.catalogue import Standing
from lambdad.services.lambda_ import errors

AS_OF = date(2026, 9, 30)

_CLOSED_TO_CREATE = frozenset({Standing.CREATE_BLOCKED, Standing.BLOCKED})
_CLOSED_TO_UPDATE = frozenset({Standing.BLOCKED})


def require_creatable(runtime: str) -> None:
    """
    Refuse to create a function with a runtime that does not exist or is no longer allowed.

    Raises:
        InvalidParameterValue
    """
    _require(runtime, _CLOSED_TO_CREATE)


def require_updatable(runtime: str) -> None:
    """
    Refuse to change a function to a runtime that does not exist or is no longer allowed.

    Raises:
        InvalidParameterValue
    """
    _require(runtime, _CLOSED_TO_UPDATE)


def _require(runtime: str, closed: Collection[Standing]) -> None:
    known = catalogue.find(runtime)
    if known is None:
        raise errors.InvalidParameterValue(catalogue.refusal(runtime))
    if known.standing(AS_OF) in closed:
        raise errors.InvalidParameterValue(
            f"The runtime parameter of {runtime} is no longer supported for creating or updating AWS Lambda functions. "
            "We recommend you use a supported runtime while creating or updating functions."
        )


def version_arn(region: str, runtime: str) -> str:
    """Build the ARN that identifies a runtime in a region; lambdad has one version of each, the machine's."""
    return arn.runtime_version(region, sha256(f"lambdad:{region}:{runtime}".encode()).hexdigest())

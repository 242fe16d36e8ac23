"""Environment variables that a function may be given.

Source: Lambda developer guide, "Defined runtime environment variables"; quotas.
"""

import json
from collections.abc import Mapping

from lambdad.model import limits
from lambdad.runtimes.environment import RESERVED
from lambdad.services.lambda_ import errors


def check(variables: Mapping[str, str]) -> dict[str, str]:
    """
    Check the variables of a function.

    Raises:
        InvalidParameterValue: a reserved key, or more than 4 KB as compact JSON in UTF-8.
    """
    reserved = [key for key in variables if key in RESERVED]
    if reserved:
        raise errors.InvalidParameterValue(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            "provided contains reserved keys that are currently not supported for modification. "
            f"Reserved keys used in this request: {', '.join(reserved)}"
        )
    measured = json.dumps(dict(variables), separators=(",", ":"), ensure_ascii=False)
    if len(measured.encode()) > limits.ENVIRONMENT_BYTES:
        raise errors.InvalidParameterValue(
            "Lambda was unable to configure your environment variables because the environment variables you have "
            f"provided exceeded the 4KB limit. String measured: {measured}"
        )
    return dict(variables)

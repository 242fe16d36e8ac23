"""Resource policies, as far as they are looked at: whether a text can be one."""

import hashlib
from typing import Any, Final

import orjson

from lambdad.services.logs import errors
from lambdad.services.logs.rules import limits

ACCOUNT: Final = "ACCOUNT"
RESOURCE: Final = "RESOURCE"

_EFFECTS: Final = ("Allow", "Deny")


def check_name(request: dict[str, Any]) -> str:
    """
    Return the name of the policy that a request means.

    Raises:
        InvalidParameter: there is none, or a policy of a single resource is meant, which lambdad does not have.
    """
    for member in ("resourceArn", "expectedRevisionId"):
        if request.get(member):
            raise errors.InvalidParameter(f"lambdad does not have resource policies of single log groups; leave out {member}.")
    name = str(request.get("policyName", ""))
    if not name:
        raise errors.InvalidParameter("Policy name cannot be empty.")
    return name


def check(request: dict[str, Any]) -> tuple[str, str]:
    """
    Check the policy of PutResourcePolicy.

    Returns:
        Its name, and the document as it was given.

    Raises:
        InvalidParameter: it is too long, or is no policy.
    """
    name = check_name(request)
    document = str(request.get("policyDocument", ""))
    if len(document) > limits.RESOURCE_POLICY_CHARACTERS:
        raise errors.InvalidParameter(f"The policy document is longer than {limits.RESOURCE_POLICY_CHARACTERS} characters.")
    try:
        policy = orjson.loads(document)
    except orjson.JSONDecodeError as error:
        raise _malformed("it is not JSON") from error
    found = policy.get("Statement") if isinstance(policy, dict) else None
    statements: list[Any] = found if isinstance(found, list) else [found]
    if not statements or not all(isinstance(each, dict) and each.get("Effect") in _EFFECTS for each in statements):
        raise _malformed("it has no Statement with an Effect")
    for member in ("Principal", "Action"):
        if not all(member in each or f"Not{member}" in each for each in statements):
            raise _malformed(f"a Statement has no {member}")
    return name, document


def revision_id(name: str, document: str, now_ms: int) -> str:
    """Name a state of a policy."""
    return hashlib.sha256(f"{now_ms}\0{name}\0{document}".encode()).hexdigest()[:32]


def _malformed(reason: str) -> errors.InvalidParameter:
    return errors.InvalidParameter(f"The policy document is not valid: {reason}.")

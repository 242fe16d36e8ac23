"""Bucket policies: text that is kept as it is, checked for form; and whether one lets everybody read an object.

Who else may do what is not decided here. Source: S3 User Guide, "Blocking public access", "The meaning of public".
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

_VERSIONS: Final = ("2012-10-17", "2008-10-17")
_STATEMENT_MEMBERS: Final = frozenset(
    {"Sid", "Effect", "Principal", "NotPrincipal", "Action", "NotAction", "Resource", "NotResource", "Condition"}
)


def parsed(text: str, bucket_arn: str) -> dict[str, Any]:
    """
    Read a policy that is to be put on a bucket.

    Raises:
        MalformedPolicy: it is no policy, or speaks of other resources than the bucket's.
        S3Error: PolicyTooLarge is told as MalformedPolicy too, as S3 does.
    """
    if len(text.encode()) > limits.POLICY_BYTES:
        raise errors.MalformedPolicy("Policies cannot exceed 20480 bytes.")
    try:
        policy = json.loads(text)
    except ValueError:
        raise errors.MalformedPolicy("Policies must be valid JSON and the first byte must be '{'") from None
    if not isinstance(policy, dict):
        raise errors.MalformedPolicy("Policies must be valid JSON and the first byte must be '{'")
    if policy.get("Version", _VERSIONS[1]) not in _VERSIONS:
        raise errors.MalformedPolicy("The policy must contain a valid version string")
    found = list(statements(policy))
    if not found:
        raise errors.MalformedPolicy("Could not parse the policy: Statement is empty!")
    for statement in found:
        _check_statement(statement, bucket_arn)
    return policy


def statements(policy: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Go through a policy's statements, one or many."""
    given = policy.get("Statement") or []
    yield from ([given] if isinstance(given, dict) else given)


def _check_statement(statement: Any, bucket_arn: str) -> None:
    if not isinstance(statement, dict) or set(statement) - _STATEMENT_MEMBERS:
        raise errors.MalformedPolicy("Unknown field in policy statement")
    if statement.get("Effect") not in ("Allow", "Deny"):
        raise errors.MalformedPolicy("Invalid effect: " + str(statement.get("Effect")))
    if ("Principal" in statement) == ("NotPrincipal" in statement):
        raise errors.MalformedPolicy("Missing required field Principal")
    if ("Action" in statement) == ("NotAction" in statement):
        raise errors.MalformedPolicy("Missing required field Action")
    if ("Resource" in statement) == ("NotResource" in statement):
        raise errors.MalformedPolicy("Missing required field Resource")
    for action in _texts(statement.get("Action", [])):
        if action != "*" and not action.lower().startswith("s3:"):
            raise errors.MalformedPolicy("Policy has invalid action")
    for resource in _texts(statement.get("Resource", [])):
        if not _glob(resource.partition("/")[0], bucket_arn):
            raise errors.MalformedPolicy("Policy has invalid resource")


def is_public(policy: Mapping[str, Any]) -> bool:
    """Say whether a policy lets in everybody, without a condition that says who."""
    return any(
        statement.get("Effect") == "Allow" and _is_everybody(statement.get("Principal")) and not statement.get("Condition")
        for statement in statements(policy)
    )


def lets_everybody(policy: Mapping[str, Any], action: str, resource: str) -> bool:
    """
    Say whether somebody who says nothing of himself may do something.

    A statement with a condition lets nobody in, and keeps everybody out: conditions are not decided here.
    """
    allowed = False
    for statement in statements(policy):
        if not _is_everybody(statement.get("Principal")) or not _concerns(statement, action, resource):
            continue
        if statement.get("Effect") == "Deny":
            return False
        if not statement.get("Condition"):
            allowed = True
    return allowed


def _concerns(statement: Mapping[str, Any], action: str, resource: str) -> bool:
    actions, resources = _texts(statement.get("Action", [])), _texts(statement.get("Resource", []))
    does = any(_glob(each.lower(), action.lower()) for each in actions)
    if "NotAction" in statement:
        does = not any(_glob(each.lower(), action.lower()) for each in _texts(statement["NotAction"]))
    meant = any(_glob(each, resource) for each in resources)
    if "NotResource" in statement:
        meant = not any(_glob(each, resource) for each in _texts(statement["NotResource"]))
    return does and meant


def _is_everybody(principal: Any) -> bool:
    if isinstance(principal, dict):
        return "*" in _texts(principal.get("AWS", []))
    return bool(principal == "*")


def _texts(given: Any) -> list[str]:
    return [str(each) for each in given] if isinstance(given, list) else [str(given)]


def _glob(pattern: str, text: str) -> bool:
    """Match a text with a pattern in which * and ? stand for any characters and for one."""
    at = place = 0
    star, resumed = -1, 0
    while at < len(text):
        if place < len(pattern) and pattern[place] == "*":
            star, resumed = place, at
            place += 1
        elif place < len(pattern) and pattern[place] in ("?", text[at]):
            at, place = at + 1, place + 1
        elif star >= 0:
            resumed += 1
            at, place = resumed, star + 1
        else:
            return False
    return pattern[place:].strip("*") == ""

"""Policies of queues: statements that AddPermission adds, and whether a policy lets another account in."""

import fnmatch
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from lambdad.services.sqs import errors
from lambdad.services.sqs.rules import limits

_OWNERS_ONLY: Final = frozenset(
    (
        *("AddPermission", "CancelMessageMoveTask", "CreateQueue", "DeleteQueue", "ListMessageMoveTasks", "ListQueues", "ListQueueTags"),
        *("RemovePermission", "SetQueueAttributes", "StartMessageMoveTask", "TagQueue", "UntagQueue"),
    )
)
_SHARED: Final = frozenset(
    (
        *("*", "ChangeMessageVisibility", "DeleteMessage", "GetQueueAttributes", "GetQueueUrl", "ListDeadLetterSourceQueues"),
        *("PurgeQueue", "ReceiveMessage", "SendMessage"),
    )
)


def add_permission(policy: str, arn: str, label: str, accounts: Sequence[str], actions: Sequence[str]) -> str:
    """
    Add a statement to a policy.

    Args:
        policy: the policy so far, JSON; "" for none.
        arn: of the queue.

    Raises:
        InvalidParameterValue: the label is taken; an account or an action is none, or only for the owner.
        OverLimit: more actions or statements than a policy has.
    """
    document = _document(policy, arn)
    statements: list[Any] = document["Statement"]
    if any(statement.get("Sid") == label for statement in statements if isinstance(statement, dict)):
        raise errors.invalid(label, "Label", "Already exists.")
    for account in accounts:
        if not (len(account) == 12 and account.isascii() and account.isdigit()):
            raise errors.invalid(account, "PrincipalId", "Unable to verify.")
    for action in actions:
        if action in _OWNERS_ONLY:
            raise errors.invalid(f"SQS:{action}", "ActionName", "Only the queue owner is allowed to invoke this action.")
        if action not in _SHARED:
            raise errors.invalid(f"SQS:{action}", "ActionName", "Please refer to the appropriate WSDL for a list of valid actions.")
    if len(actions) > limits.POLICY_ACTIONS:
        raise errors.OverLimit(f"{len(actions)} Actions were found, maximum allowed is {limits.POLICY_ACTIONS}.")
    if len(statements) >= limits.POLICY_STATEMENTS:
        raise errors.OverLimit(f"{len(statements) + 1} Statements were found, maximum allowed is {limits.POLICY_STATEMENTS}.")
    principals = [f"arn:aws:iam::{account}:root" for account in accounts]
    named = [f"SQS:{action}" for action in actions]
    statements.append(
        {
            "Sid": label,
            "Effect": "Allow",
            "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
            "Action": named[0] if len(named) == 1 else named,
            "Resource": arn,
        }
    )
    return orjson.dumps(document).decode()


def remove_permission(policy: str, arn: str, label: str) -> str:
    """
    Remove a statement from a policy; returns "" when none is left.

    Raises:
        InvalidParameterValue: there is no statement with the label.
    """
    document = _document(policy, arn)
    statements: list[Any] = document["Statement"]
    left = [statement for statement in statements if not (isinstance(statement, dict) and statement.get("Sid") == label)]
    if len(left) == len(statements):
        raise errors.invalid(label, "Label", "can't find label.")
    document["Statement"] = left
    return orjson.dumps(document).decode() if left else ""


def allows(policy: str, account: str, principal_arn: str, action: str) -> bool:
    """
    Say whether a policy lets somebody of another account do something.

    It does where a statement without conditions allows it and none, whatever its conditions, denies it; there is no one here yet who
    could say whether a condition holds.
    """
    if not policy:
        return False
    statements = orjson.loads(policy)["Statement"]
    is_allowed = False
    for statement in statements if isinstance(statements, list) else [statements]:
        if not isinstance(statement, dict) or not _is_about(statement, account, principal_arn, action):
            continue
        if statement.get("Effect") == "Deny":
            return False
        if statement.get("Effect") == "Allow" and not statement.get("Condition") and "NotResource" not in statement:
            is_allowed = True
    return is_allowed


def _is_about(statement: Mapping[str, Any], account: str, principal_arn: str, action: str) -> bool:
    if "NotPrincipal" in statement or "NotAction" in statement:
        return statement.get("Effect") == "Deny"
    principal = statement.get("Principal")
    named = _listed(principal.get("AWS")) if isinstance(principal, dict) else _listed(principal)
    if not {"*", account, f"arn:aws:iam::{account}:root", principal_arn} & set(named):
        return False
    wanted = f"sqs:{action}".lower()
    return any(each == "*" or fnmatch.fnmatchcase(wanted, each.lower()) for each in _listed(statement.get("Action")))


def _listed(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def _document(policy: str, arn: str) -> dict[str, Any]:
    if not policy:
        return {"Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy", "Statement": []}
    document: dict[str, Any] = orjson.loads(policy)
    if isinstance(document["Statement"], dict):
        document["Statement"] = [document["Statement"]]
    return document

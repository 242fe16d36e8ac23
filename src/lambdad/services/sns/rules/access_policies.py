"""Policies of topics: the one that every topic begins with, statements added and removed, and what another account may do.

Statements with conditions that are not known here let nobody in.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import json_text, limits

_DEFAULT_ACTIONS: Final = (
    "SNS:GetTopicAttributes",
    "SNS:SetTopicAttributes",
    "SNS:AddPermission",
    "SNS:RemovePermission",
    "SNS:DeleteTopic",
    "SNS:Subscribe",
    "SNS:ListSubscriptionsByTopic",
    "SNS:Publish",
)
_ACTIONS: Final = frozenset({*(action.partition(":")[2] for action in _DEFAULT_ACTIONS), "Receive"})
_OWNER_KEYS: Final = frozenset({"aws:sourceowner", "aws:sourceaccount", "aws:principalaccount"})
_OPERATORS: Final = frozenset({"ArnEquals", "ArnLike", "StringEquals", "StringLike"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who wants to do something: an account, or a service for a resource of that account.

    Args:
        service: "s3.amazonaws.com"; "" for the account itself.
        source_arn: the resource; "" for the account itself.
    """

    account: str
    service: str = ""
    source_arn: str = ""


def default(topic_arn: str, account: str) -> str:
    """Write the policy of a topic that was given none: its account may do everything."""
    return _compact(
        {
            "Version": "2008-10-17",
            "Id": "__default_policy_ID",
            "Statement": [
                {
                    "Sid": "__default_statement_ID",
                    "Effect": "Allow",
                    "Principal": {"AWS": "*"},
                    "Action": list(_DEFAULT_ACTIONS),
                    "Resource": topic_arn,
                    "Condition": {"StringEquals": {"AWS:SourceOwner": account}},
                }
            ],
        }
    )


def check(document: str, parameter: str) -> None:
    """
    Check a policy that is to be set.

    Args:
        parameter: how the error begins, "Policy" or "Attributes Reason: Policy".

    Raises:
        InvalidParameter: it is none, or too long.
    """
    try:
        policy = json_text.parse_object(document)
    except ValueError:
        raise errors.InvalidParameter(f"{parameter} Error: null") from None
    if len(document.encode()) > limits.POLICY_BYTES:
        raise errors.InvalidParameter(f"{parameter} Error: the policy is longer than {limits.POLICY_BYTES} bytes")
    statements = _statements(policy)
    if not statements:
        raise errors.InvalidParameter(f"{parameter} Error: the policy has no statement")
    for statement in statements:
        if statement.get("Effect") not in ("Allow", "Deny"):
            raise errors.InvalidParameter(f"{parameter} statement must have an Effect of Allow or Deny")
        if not ("Principal" in statement or "NotPrincipal" in statement):
            raise errors.InvalidParameter(f"{parameter} statement must have a Principal")
        for action in _listed(statement.get("Action", [])):
            service, _, name = action.partition(":")
            if action != "*" and (service.lower() != "sns" or not name):
                raise errors.InvalidParameter(f"{parameter} statement action out of service scope!")


def add(document: str, topic_arn: str, label: str, accounts: list[str], actions: list[str]) -> str:
    """
    Add a statement that lets accounts do things.

    Raises:
        InvalidParameter: the label is there already, or an account or action is none.
    """
    policy = json_text.parse_object(document)
    statements = _statements(policy)
    if any(statement.get("Sid") == label for statement in statements):
        raise errors.InvalidParameter("Statement already exists")
    if not accounts or not actions:
        raise errors.InvalidParameter("AWSAccountId" if not accounts else "ActionName")
    for account in accounts:
        if not (account.isascii() and account.isdigit() and len(account) == 12):
            raise errors.InvalidParameter("Invalid parameter: Policy Error: PrincipalNotFound")
    unknown = [action for action in actions if action not in _ACTIONS and action != "*"]
    if unknown:
        raise errors.InvalidParameter("Policy statement action out of service scope!")
    principals = [f"arn:{topic_arn.split(':')[1]}:iam::{account}:root" for account in accounts]
    statement: dict[str, Any] = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {"AWS": principals[0] if len(principals) == 1 else principals},
        "Action": f"SNS:{actions[0]}" if len(actions) == 1 else [f"SNS:{action}" for action in actions],
        "Resource": topic_arn,
    }
    changed = _compact({**policy, "Statement": [*statements, statement]})
    check(changed, "Policy")
    return changed


def remove(document: str, label: str) -> str:
    """
    Take a statement away.

    Raises:
        NotFound: there is none of that label.
    """
    policy = json_text.parse_object(document)
    statements = _statements(policy)
    left = [statement for statement in statements if statement.get("Sid") != label]
    if len(left) == len(statements):
        raise errors.NotFound("Policy statement does not exist")
    return _compact({**policy, "Statement": left})


def allows(document: str, caller: Caller, action: str) -> bool:
    """
    Say whether a policy lets a caller of another account than the topic's do something.

    Args:
        action: "Publish".
    """
    allowed = False
    for statement in _statements(json_text.parse_object(document)):
        is_denied = statement.get("Effect") == "Deny"
        if is_denied and ("NotAction" in statement or "NotPrincipal" in statement):
            return False  # whom and what it leaves out is not looked into
        if not _names(statement, caller) or not _covers(statement, action):
            continue
        if is_denied:
            return False  # whatever its conditions are: they may hold
        allowed = allowed or _holds(statement.get("Condition", {}), caller)
    return allowed


def _names(statement: Mapping[str, Any], caller: Caller) -> bool:
    principal = statement.get("Principal")
    if not isinstance(principal, dict):
        return principal == "*"
    accounts = _listed(principal.get("AWS", []))
    if "*" in accounts:
        return True
    if caller.service:
        return caller.service in _listed(principal.get("Service", []))
    return any(each == caller.account or each.split(":")[4:5] == [caller.account] for each in accounts)


def _covers(statement: Mapping[str, Any], action: str) -> bool:
    return any(_is_like(f"sns:{action}".lower(), pattern.lower()) for pattern in _listed(statement.get("Action", [])))


def _holds(condition: Any, caller: Caller) -> bool:
    if not isinstance(condition, dict):
        return False
    for operator, wanted in condition.items():
        if operator not in _OPERATORS or not isinstance(wanted, dict):
            return False
        for key, patterns in wanted.items():
            value = caller.account if key.lower() in _OWNER_KEYS else caller.source_arn if key.lower() == "aws:sourcearn" else ""
            is_exact = operator == "StringEquals"
            if not value or not any(value == each if is_exact else _is_like(value, each) for each in _listed(patterns)):
                return False
    return True


def _is_like(value: str, pattern: str) -> bool:
    """Say whether a text matches a pattern with ``*`` and ``?``."""
    expression = "".join({"*": ".*", "?": "."}.get(letter, re.escape(letter)) for letter in re.sub(r"\*+", "*", pattern))
    return re.fullmatch(expression, value, re.DOTALL) is not None


def _statements(policy: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = policy.get("Statement", [])
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def _listed(value: Any) -> list[str]:
    return [each for each in (value if isinstance(value, list) else [value]) if isinstance(each, str)]


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)

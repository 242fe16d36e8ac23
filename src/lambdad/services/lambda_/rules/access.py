"""Whether a resource policy lets a service do something to a function, one of its versions or aliases.

Services are let in by resource policies alone: a Deny that matches refuses, else an Allow that matches allows, else nothing does.
What this cannot judge, because an operator or a condition key is not known here, never makes an Allow match, and never keeps a Deny
from matching.

Source: IAM User Guide, "Policy evaluation logic" and "IAM JSON policy elements: Condition operators".
"""

import functools
import json
from collections.abc import Callable, Mapping
from enum import Enum, StrEnum
from typing import Any, TypeAlias

INVOKE_FUNCTION = "lambda:InvokeFunction"

Values: TypeAlias = Mapping[str, str]
"""Condition keys and their values in a request, the keys in lower case: ``{"aws:sourcearn": "arn:aws:s3:::bucket"}``."""


class Verdict(StrEnum):
    """What policies say to a request."""

    ALLOWED = "allowed"
    NOT_ALLOWED = "not allowed"
    DENIED = "denied"


class Match(Enum):
    """Whether something applies; UNKNOWN is what cannot be judged here."""

    YES = 1
    NO = 0
    UNKNOWN = -1


def evaluate(documents: list[str], *, principal: str, action: str, resource: str, values: Values) -> Verdict:
    """
    Evaluate the policies of a resource.

    Args:
        documents: policies as JSON that `policies.checked` or AddPermission accepted.
        principal: the calling service, ``s3.amazonaws.com``.
        action: ``lambda:InvokeFunction``.
        resource: the ARN as the caller qualified it.
        values: the request's condition keys.
    """
    verdict = Verdict.NOT_ALLOWED
    for document in documents:
        for statement in _statements(document):
            match = _match(statement, principal, action, resource, values)
            if statement.get("Effect") == "Deny":
                if match is not Match.NO:
                    return Verdict.DENIED
            elif match is Match.YES and statement.get("Effect") == "Allow":
                verdict = Verdict.ALLOWED
    return verdict


def refusal(verdict: Verdict, *, principal: str, action: str, resource: str) -> str:
    """Say in AWS's words why a request is refused."""
    text = f"User: {principal} is not authorized to perform: {action} on resource: {resource}"
    if verdict is Verdict.DENIED:
        return f"{text} with an explicit deny in a resource-based policy"
    return f"{text} because no resource-based policy allows the {action} action"


@functools.lru_cache(maxsize=512)
def _statements(document: str) -> list[Mapping[str, Any]]:
    """Read a policy's statements; a policy is asked far more often than it is changed."""
    found = json.loads(document).get("Statement")
    return [each for each in _list(found) if isinstance(each, dict)]


def _match(statement: Mapping[str, Any], principal: str, action: str, resource: str, values: Values) -> Match:
    return _all(
        _either(statement, "Principal", lambda stated: _is_principal(stated, _names_of(principal, resource))),
        _either(statement, "Action", lambda stated: _any_like(stated, action, fold=True)),
        _either(statement, "Resource", lambda stated: _any_like(stated, resource)),
        _conditions(statement.get("Condition", {}), values),
    )


def _either(statement: Mapping[str, Any], element: str, holds: Callable[[Any], Match]) -> Match:
    """Judge an element of a statement, or its opposite: ``Action`` or ``NotAction``."""
    if element in statement:
        return holds(statement[element])
    return _not(holds(statement[f"Not{element}"])) if f"Not{element}" in statement else Match.NO


def _names_of(service: str, resource: str) -> tuple[str, ...]:
    """Give the names that a policy may have for a service: ``logs.amazonaws.com``, and ``logs.us-east-1.amazonaws.com`` in its region."""
    prefix, _, suffix = service.partition(".")
    return service, f"{prefix}.{resource.split(':')[3]}.{suffix}"


def _is_principal(stated: Any, services: tuple[str, ...]) -> Match:
    if stated == "*":
        return Match.YES
    if not isinstance(stated, dict):
        return Match.NO
    named = _list(stated.get("Service"))
    if any(service in named for service in services) or "*" in named or "*" in _list(stated.get("AWS")):
        return Match.YES
    return Match.NO


def _any_like(stated: Any, value: str, *, fold: bool = False) -> Match:
    """Say whether one of some patterns with ``*`` and ``?`` fits."""
    result = Match.NO
    for pattern in _list(stated):
        if not isinstance(pattern, str) or "${" in pattern:
            result = Match.UNKNOWN
        elif is_like(pattern.lower(), value.lower()) if fold else is_like(pattern, value):
            return Match.YES
    return result


# --- conditions


def _conditions(stated: Any, values: Values) -> Match:
    if not isinstance(stated, dict):
        return Match.UNKNOWN
    result = Match.YES
    for operator, keys in stated.items():
        if not isinstance(keys, dict):
            return Match.UNKNOWN
        for key, wanted in keys.items():
            result = _all(result, _condition(operator, key.lower(), _list(wanted), values))
    return result


def _condition(operator: str, key: str, wanted: list[Any], values: Values) -> Match:
    """Judge one operator on one key: it holds where one of the values wanted fits."""
    name = operator.removesuffix("IfExists")
    if_exists = name != operator
    if key not in values and not key.startswith("lambda:") and key not in _SERVICE_KEYS:
        return Match.UNKNOWN
    given = values.get(key)
    if name == "Null":
        return _any([_bool(given is None, each) for each in wanted])
    if name not in _OPERATORS and name not in _NEGATIVE:
        return Match.UNKNOWN
    if given is None:
        return Match.YES if if_exists or name in _NEGATIVE else Match.NO
    test = _OPERATORS[_NEGATIVE.get(name, name)]
    fits = _any([test(each, given) if isinstance(each, str | bool) and "${" not in str(each) else Match.UNKNOWN for each in wanted])
    return _not(fits) if name in _NEGATIVE else fits


_SERVICE_KEYS = frozenset({"aws:sourcearn", "aws:sourceaccount", "aws:principalservicename", "aws:principalisawsservice"})
"""Keys whose absence from a request means that it has none. The service's own keys (``lambda:...``) are likewise absent."""


def _said(holds: bool) -> Match:
    return Match.YES if holds else Match.NO


def _bool(given: bool, wanted: Any) -> Match:
    text = str(wanted).lower()
    return _said(text == str(given).lower()) if text in ("true", "false") else Match.UNKNOWN


def is_arn_like(pattern: str, arn: str) -> bool:
    """Compare ARNs part by part; ``*`` and ``?`` do not reach beyond a colon, but in the last part."""
    if pattern == "*":
        return True
    patterns, parts = pattern.split(":", 5), arn.split(":", 5)
    return len(patterns) == len(parts) == 6 and all(is_like(one, part) for one, part in zip(patterns, parts, strict=True))


def is_like(pattern: str, text: str) -> bool:
    """Say whether a pattern with ``*`` (any number of characters) and ``?`` (one) fits a whole text; takes time of the order of both."""
    at = 0  # in the text
    position = 0  # in the pattern
    star, resumed = -1, 0  # the last star, and where in the text what follows it was tried
    while at < len(text):
        if position < len(pattern) and pattern[position] == "*":
            star, resumed = position, at
            position += 1
        elif position < len(pattern) and pattern[position] in ("?", text[at]):
            position += 1
            at += 1
        elif star >= 0:
            resumed += 1
            position, at = star + 1, resumed
        else:
            return False
    return not pattern[position:].strip("*")


_OPERATORS: Mapping[str, Callable[[Any, str], Match]] = {
    "StringEquals": lambda wanted, given: _said(wanted == given),
    "StringEqualsIgnoreCase": lambda wanted, given: _said(str(wanted).lower() == given.lower()),
    "StringLike": lambda wanted, given: _said(is_like(str(wanted), given)),
    "ArnEquals": lambda wanted, given: _said(is_arn_like(str(wanted), given)),
    "ArnLike": lambda wanted, given: _said(is_arn_like(str(wanted), given)),
    "Bool": lambda wanted, given: _bool(given.lower() == "true", wanted),
}
_NEGATIVE: Mapping[str, str] = {
    "StringNotEquals": "StringEquals",
    "StringNotEqualsIgnoreCase": "StringEqualsIgnoreCase",
    "StringNotLike": "StringLike",
    "ArnNotEquals": "ArnEquals",
    "ArnNotLike": "ArnLike",
}


# --- three-valued logic


def _all(*matches: Match) -> Match:
    if Match.NO in matches:
        return Match.NO
    return Match.UNKNOWN if Match.UNKNOWN in matches else Match.YES


def _any(matches: list[Match]) -> Match:
    if Match.YES in matches:
        return Match.YES
    return Match.UNKNOWN if Match.UNKNOWN in matches else Match.NO


def _not(match: Match) -> Match:
    return Match(1 - match.value) if match is not Match.UNKNOWN else match


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]

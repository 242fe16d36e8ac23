"""Resource policies: the JSON that AddPermission and its like make, kept in AWS's order of keys.

    {"Version":"2012-10-17","Id":"default","Statement":[{"Sid":"s3","Effect":"Allow",
     "Principal":{"Service":"s3.amazonaws.com"},"Action":"lambda:InvokeFunction",
     "Resource":"arn:aws:lambda:us-east-1:000000000000:function:f",
     "Condition":{"StringEquals":{"AWS:SourceAccount":"000000000000"},"ArnLike":{"AWS:SourceArn":"arn:aws:s3:::b"}}}]}

A policy is text everywhere but here and in `access`, which decides whether it lets a service do something. Those of layers are so
simple that it is decided here.

Source: Lambda API Reference, AddPermission, PutResourcePolicy; key order and texts were recorded from the service.
"""

import json
import re
from dataclasses import dataclass
from typing import TypeAlias

from lambdad.model import arn, limits
from lambdad.services.lambda_ import errors

Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
Statement: TypeAlias = dict[str, Json]

GET_LAYER_VERSION = "lambda:GetLayerVersion"
_NO_POLICY = "No policy is associated with the given resource."
_VERSIONS = ("2012-10-17", "2008-10-17")
_ACCOUNT = re.compile(r"\d{12}")
_SERVICE = re.compile(r"[a-z0-9][a-z0-9.-]*\.(?:amazonaws\.com(?:\.cn)?|amazonaws\.eu|amazon\.com|aws\.internal)")
_IAM_ARN = re.compile(
    r"arn:aws[a-zA-Z-]*:(?:"
    r"iam::\d{12}:(?:root|(?:user|role)/[\w+=,.@/-]+)"
    r"|sts::\d{12}:(?:assumed-role/[\w+=,.@-]+/[\w+=,.@-]+|federated-user/[\w+=,.@-]+)"
    r"|iam::cloudfront:user/[\w+=,.@/ -]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a caller of AddPermission or AddLayerVersionPermission wants to allow."""

    sid: str
    principal: str
    action: str
    source_arn: str | None = None
    source_account: str | None = None
    event_source_token: str | None = None
    function_url_auth_type: str | None = None
    principal_org_id: str | None = None
    invoked_via_function_url: bool = False


def statement(grant: Grant, resource: str, region: str) -> Statement:
    """
    Write a grant as the statement that AWS makes of it.

    Args:
        resource: the ARN that carries the policy.
        region: gives the partition of principals that are only account ids.

    Raises:
        InvalidParameterValue: the principal is none, or conditions do not go with the action.
    """
    if grant.function_url_auth_type is not None and grant.action != "lambda:InvokeFunctionUrl":
        raise errors.InvalidParameterValue("FunctionUrlAuthType is only supported for lambda:InvokeFunctionUrl action")
    if grant.invoked_via_function_url and grant.action != "lambda:InvokeFunction":
        raise errors.InvalidParameterValue("InvokedViaFunctionUrl is only supported for lambda:InvokeFunction action")
    made: Statement = {
        "Sid": grant.sid,
        "Effect": "Allow",
        "Principal": _principal(grant.principal, region),
        "Action": grant.action,
        "Resource": resource,
    }
    condition = _condition(grant)
    if condition:
        made["Condition"] = condition
    return made


def _principal(principal: str, region: str) -> Json:
    if principal == "*":
        return "*"
    if _ACCOUNT.fullmatch(principal):
        return {"AWS": f"arn:{arn.partition(region)}:iam::{principal}:root"}
    if _IAM_ARN.fullmatch(principal):
        return {"AWS": principal}
    if _SERVICE.fullmatch(principal):
        return {"Service": principal}
    raise errors.InvalidParameterValue("The provided principal was invalid. Please check the principal and try again.")


def _condition(grant: Grant) -> dict[str, Json]:
    equals: dict[str, Json] = {}
    if grant.source_account is not None:
        equals["AWS:SourceAccount"] = grant.source_account
    if grant.event_source_token is not None:
        equals["lambda:EventSourceToken"] = grant.event_source_token
    if grant.function_url_auth_type is not None:
        equals["lambda:FunctionUrlAuthType"] = grant.function_url_auth_type
    if grant.principal_org_id is not None:
        equals["aws:PrincipalOrgID"] = grant.principal_org_id
    condition: dict[str, Json] = {}
    if equals:
        condition["StringEquals"] = equals
    if grant.source_arn is not None:
        condition["ArnLike"] = {"AWS:SourceArn": grant.source_arn}
    if grant.invoked_via_function_url:
        condition["Bool"] = {"lambda:InvokedViaFunctionUrl": "true"}
    return condition


def compact(value: Json) -> str:
    """Write JSON as AWS does: no spaces, keys in their order."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def add(document: str | None, new: Statement) -> str:
    """
    Add a statement to a policy.

    Args:
        document: the policy as it is; None where there is none yet.

    Raises:
        ResourceConflict: a statement of that id is there.
        PolicyLengthExceeded: it would be longer than 20,480 bytes.
    """
    policy: dict[str, Json] = {"Version": "2012-10-17", "Id": "default", "Statement": []}
    if document is not None:
        policy = _read(document)
    statements = _statements(policy)
    if any(there.get("Sid") == new["Sid"] for there in statements):
        raise errors.ResourceConflict(
            f"The statement id ({new['Sid']}) provided already exists. Please provide a new statement id, or remove the existing statement."
        )
    return _short_enough(compact({**policy, "Statement": [*statements, new]}))


def remove(document: str | None, sid: str) -> str | None:
    """
    Take a statement out of a policy.

    Returns:
        What is left; None where that was the last statement, and the policy is gone.

    Raises:
        ResourceNotFound: no policy, or no such statement in it.
    """
    if document is None:
        raise errors.ResourceNotFound(_NO_POLICY)
    policy = _read(document)
    statements = _statements(policy)
    left: list[Json] = [there for there in statements if there.get("Sid") != sid]
    if len(left) == len(statements):
        raise errors.ResourceNotFound(f"Statement {sid} is not found in resource policy.")
    return compact({**policy, "Statement": left}) if left else None


def checked(document: str) -> str:
    """
    Check a whole policy as PutResourcePolicy takes it.

    Returns:
        The document, as it was given.

    Raises:
        InvalidParameterValue: it is no policy.
        PolicyLengthExceeded: it is longer than 20,480 bytes.
    """
    try:
        policy = json.loads(document)
    except (ValueError, RecursionError) as error:
        raise _malformed("it is not JSON") from error
    if not isinstance(policy, dict) or policy.get("Version", _VERSIONS[0]) not in _VERSIONS:
        raise _malformed("it has no known Version")
    found = policy.get("Statement")
    statements = found if isinstance(found, list) else [found]
    if not statements:
        raise _malformed("it has no Statement")
    sids = set()
    for each in statements:
        if not isinstance(each, dict) or each.get("Effect") not in ("Allow", "Deny"):
            raise _malformed("a Statement has no Effect")
        for member in ("Principal", "Action", "Resource"):
            if member not in each and f"Not{member}" not in each:
                raise _malformed(f"a Statement has no {member}")
        sid = each.get("Sid")
        if sid is not None and (not isinstance(sid, str) or sid in sids):
            raise _malformed("a Sid occurs twice or is no text")
        sids.add(sid)
    return _short_enough(document)


def may_get_layer_version(document: str | None, account: str) -> bool:
    """
    Say whether a layer version's policy lets another account use it.

    A statement with a condition lets nobody in: who belongs to which organization is not known here.
    """
    if document is None:
        return False
    for each in _statements(_read(document)):
        principal = each.get("Principal")
        named = principal.get("AWS") if isinstance(principal, dict) else principal
        is_meant = named == "*" or (isinstance(named, str) and named.endswith(f":iam::{account}:root"))
        if is_meant and each.get("Action") == GET_LAYER_VERSION and "Condition" not in each:
            return True
    return False


def _read(document: str) -> dict[str, Json]:
    policy = json.loads(document)
    assert isinstance(policy, dict), "only objects are stored as policies"
    return policy


def _statements(policy: dict[str, Json]) -> list[Statement]:
    found = policy["Statement"]
    return [each for each in (found if isinstance(found, list) else [found]) if isinstance(each, dict)]


def _short_enough(document: str) -> str:
    size_bytes = len(document.encode())
    if size_bytes > limits.POLICY_BYTES:
        raise errors.PolicyLengthExceeded(size_bytes)
    return document


def _malformed(reason: str) -> errors.InvalidParameterValue:
    return errors.InvalidParameterValue(f"The policy is not valid: {reason}.")

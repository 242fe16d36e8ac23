"""Resource policies of event buses: the JSON that PutPermission makes. Stored and shown; who may put events is not decided by it here.

    {"Version":"2012-10-17","Statement":[{"Sid":"s","Effect":"Allow","Principal":{"AWS":"arn:aws:iam::111122223333:root"},
     "Action":"events:PutEvents","Resource":"arn:aws:events:us-east-1:000000000000:event-bus/default"}]}

Source: EventBridge API Reference, PutPermission, RemovePermission.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from lambdad.model import arn
from lambdad.services.events import errors
from lambdad.services.events.rules import limits, names
from lambdad.services.events.rules.names import BusKey


def put(policy: str | None, bus: BusKey, request: Mapping[str, Any]) -> str:
    """
    Return a bus's policy with a statement more, or with the one of the same id replaced; or the policy that the request gives as a whole.

    Raises:
        InvalidValue: neither or both are given, or the policy is no JSON object.
        PolicyTooLong: it would be longer than 10,240 bytes.
    """
    parts = ("Action", "Principal", "StatementId", "Condition")
    if "Policy" in request:
        if any(part in request for part in parts):
            raise errors.InvalidValue("Parameter(s) Policy and StatementId cannot be specified together.")
        try:
            document = orjson.loads(request["Policy"])
        except orjson.JSONDecodeError:
            raise errors.InvalidValue("This policy contains invalid Json") from None
        if not isinstance(document, dict) or not isinstance(document.get("Statement"), list | dict):
            raise errors.InvalidValue("This policy contains invalid Json")
        return _written(document)
    missing = next((part for part in ("StatementId", "Action", "Principal") if part not in request), None)
    if missing is not None:
        raise errors.InvalidValue(f"Parameter {missing} must be specified.")
    if request["Action"] != "events:PutEvents":
        raise errors.InvalidValue("Provided value in parameter 'action' is not supported.")
    principal = request["Principal"]
    statement: dict[str, Any] = {
        "Sid": request["StatementId"],
        "Effect": "Allow",
        "Principal": principal if principal == "*" else {"AWS": f"arn:{arn.partition(bus.region)}:iam::{principal}:root"},
        "Action": request["Action"],
        "Resource": names.bus_arn(bus),
    }
    if condition := request.get("Condition"):
        statement["Condition"] = {condition["Type"]: {condition["Key"]: condition["Value"]}}
    document = _read(policy)
    kept = [each for each in document["Statement"] if each.get("Sid") != request["StatementId"]]
    return _written({**document, "Statement": [*kept, statement]})


def remove(policy: str | None, request: Mapping[str, Any]) -> str | None:
    """
    Return a bus's policy without a statement; None where nothing is left of it.

    Raises:
        InvalidValue: no statement is named.
        StatementMissing: there is none of that id.
    """
    if request.get("RemoveAllPermissions"):
        return None
    if "StatementId" not in request:
        raise errors.InvalidValue("Parameter StatementId must be specified.")
    if policy is None:
        raise errors.StatementMissing("EventBus does not have a policy.")
    document = _read(policy)
    kept = [each for each in document["Statement"] if each.get("Sid") != request["StatementId"]]
    if len(kept) == len(document["Statement"]):
        raise errors.StatementMissing
    return _written({**document, "Statement": kept}) if kept else None


def _read(policy: str | None) -> dict[str, Any]:
    document: dict[str, Any] = orjson.loads(policy) if policy else {"Version": "2012-10-17", "Statement": []}
    if isinstance(document["Statement"], dict):
        document["Statement"] = [document["Statement"]]
    return document


def _written(document: dict[str, Any]) -> str:
    try:
        text = orjson.dumps(document).decode()
    except TypeError:  # nested too deeply
        raise errors.InvalidValue("This policy contains invalid Json") from None
    if len(text.encode()) > limits.POLICY_BYTES:
        raise errors.PolicyTooLong
    return text

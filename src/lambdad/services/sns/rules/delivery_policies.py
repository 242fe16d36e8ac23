"""Delivery policies: how often, and how far apart, a message is sent to an HTTP endpoint that does not take it.

    of a topic          {"http": {"defaultHealthyRetryPolicy": {"numRetries": 5}, "disableSubscriptionOverrides": false}}
    of a subscription   {"healthyRetryPolicy": {"numRetries": 5}, "requestPolicy": {"headerContentType": "application/json"}}

Source: SNS Developer Guide, "Creating an HTTP/S delivery policy".
"""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import json_text, limits

_RETRY_DEFAULTS: Final[Mapping[str, Any]] = {
    "minDelayTarget": 20,
    "maxDelayTarget": 20,
    "numRetries": 3,
    "numMaxDelayRetries": 0,
    "numNoDelayRetries": 0,
    "numMinDelayRetries": 0,
    "backoffFunction": "linear",
}
_BACKOFFS: Final = ("linear", "arithmetic", "geometric", "exponential")
_CONTENT_TYPE: Final = "text/plain; charset=UTF-8"
_CONTENT_TYPES: Final = frozenset(
    {
        *("text/css", "text/csv", "text/html", "text/plain", "text/xml"),
        *("application/atom+xml", "application/json", "application/octet-stream", "application/soap+xml"),
        *("application/x-www-form-urlencoded", "application/xhtml+xml", "application/xml"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How a message is sent: how often at most, the pauses between (the last one again and again), and under which media type."""

    attempts: int
    delays_ms: tuple[int, ...]
    content_type: str


def check_topics(document: str, parameter: str) -> None:
    """
    Check the delivery policy of a topic.

    Args:
        parameter: how the error begins, "DeliveryPolicy" or "Attributes Reason: DeliveryPolicy".

    Raises:
        InvalidParameter: it is none.
    """
    policy = _object(document, parameter)
    _check_keys(policy, {"http"}, parameter)
    http = _member(policy, "http", parameter)
    _check_keys(
        http,
        {"defaultHealthyRetryPolicy", "disableSubscriptionOverrides", "defaultThrottlePolicy", "defaultRequestPolicy"},
        parameter,
    )
    if not isinstance(http.get("disableSubscriptionOverrides", False), bool):
        raise _refused(parameter, "http.disableSubscriptionOverrides must be a boolean")
    _check_throttle(_member(http, "defaultThrottlePolicy", parameter), parameter)
    _check_retry(_member(http, "defaultHealthyRetryPolicy", parameter), parameter, "http.defaultHealthyRetryPolicy")
    _check_request(_member(http, "defaultRequestPolicy", parameter), parameter)


def check_subscriptions(document: str, parameter: str) -> None:
    """Check the delivery policy of a subscription; as `check_topics`."""
    policy = _object(document, parameter)
    _check_keys(policy, {"healthyRetryPolicy", "sicklyRetryPolicy", "throttlePolicy", "requestPolicy", "guaranteed"}, parameter)
    if policy.get("sicklyRetryPolicy") is not None or policy.get("guaranteed") not in (None, False):
        raise _refused(parameter, "sicklyRetryPolicy and guaranteed are not supported")
    _check_throttle(_member(policy, "throttlePolicy", parameter), parameter)
    _check_retry(_member(policy, "healthyRetryPolicy", parameter), parameter, "healthyRetryPolicy")
    _check_request(_member(policy, "requestPolicy", parameter), parameter)


def effective_of_topic(document: str | None) -> str:
    """Write the policy that a topic's HTTP subscriptions are served by where they have none of their own."""
    http = _read(document).get("http") or {}
    return _compact(
        {
            "http": {
                "defaultHealthyRetryPolicy": {**_RETRY_DEFAULTS, **(http.get("defaultHealthyRetryPolicy") or {})},
                "disableSubscriptionOverrides": http.get("disableSubscriptionOverrides", False),
                "defaultRequestPolicy": {"headerContentType": _CONTENT_TYPE, **(http.get("defaultRequestPolicy") or {})},
            }
        }
    )


def effective_of_subscription(topics: str | None, own: str | None) -> str:
    """Write the policy that a subscription is served by."""
    http = json.loads(effective_of_topic(topics))["http"]
    mine = {} if http["disableSubscriptionOverrides"] else _read(own)
    retry = mine.get("healthyRetryPolicy")
    return _compact(
        {
            "healthyRetryPolicy": {**_RETRY_DEFAULTS, **retry} if retry else http["defaultHealthyRetryPolicy"],
            "sicklyRetryPolicy": None,
            "throttlePolicy": None,
            "requestPolicy": {**http["defaultRequestPolicy"], **(mine.get("requestPolicy") or {})},
            "guaranteed": False,
        }
    )


@functools.lru_cache(maxsize=256)
def schedule(topics: str | None, own: str | None) -> Schedule:
    """
    Work out how messages of a subscription are sent.

    Args:
        topics: the topic's delivery policy; None if it has none.
        own: the subscription's.
    """
    policy = json.loads(effective_of_subscription(topics, own))
    return Schedule(
        attempts=1 + int(policy["healthyRetryPolicy"]["numRetries"]),
        delays_ms=_delays_ms(policy["healthyRetryPolicy"]),
        content_type=policy["requestPolicy"]["headerContentType"],
    )


def _delays_ms(retry: Mapping[str, Any]) -> tuple[int, ...]:
    least, most = retry["minDelayTarget"] * 1000, retry["maxDelayTarget"] * 1000
    steps = retry["numRetries"] - retry["numNoDelayRetries"] - retry["numMinDelayRetries"] - retry["numMaxDelayRetries"]
    return (
        *(0,) * retry["numNoDelayRetries"],
        *(least,) * retry["numMinDelayRetries"],
        *(_between(retry["backoffFunction"], least, most, step, steps) for step in range(1, steps + 1)),
        *(most,) * retry["numMaxDelayRetries"],
    )


def _between(function: str, least: int, most: int, step: int, steps: int) -> int:
    """Say how long to pause at a step of the back-off, which ends with the most; the functions differ in how they rise."""
    share = step / steps
    match function:
        case "exponential":
            rise = (2.0**step - 1) / (2.0**steps - 1)
        case "geometric":
            return round(max(least, 1) * (most / max(least, 1)) ** share) if most else 0
        case "arithmetic":
            rise = step * (step + 1) / (steps * (steps + 1))
        case _:
            rise = share
    return least + round((most - least) * rise)


def _check_retry(retry: Mapping[str, Any], parameter: str, where: str) -> None:
    if not retry:
        return
    _check_keys(retry, _RETRY_DEFAULTS.keys(), parameter)
    if retry.get("backoffFunction", "linear") not in _BACKOFFS:
        raise _refused(parameter, f"{where}.backoffFunction must be one of {', '.join(_BACKOFFS)}")
    numbers = {**_RETRY_DEFAULTS, **retry}
    del numbers["backoffFunction"]
    for name, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _refused(parameter, f"{where}.{name} must be a non-negative integer")
    for name in ("minDelayTarget", "maxDelayTarget"):
        if not 1 <= numbers[name] <= limits.HTTP_DELAY_S:
            raise _refused(parameter, f"{where}.{name} must be between 1 and {limits.HTTP_DELAY_S}")
    if numbers["numRetries"] > limits.HTTP_RETRIES:
        raise _refused(parameter, f"{where}.numRetries must be less than or equal to {limits.HTTP_RETRIES}")
    if numbers["maxDelayTarget"] < numbers["minDelayTarget"]:
        raise _refused(parameter, f"{where}.maxDelayTarget must be greater than or equal to minDelayTarget")
    if numbers["numNoDelayRetries"] + numbers["numMinDelayRetries"] + numbers["numMaxDelayRetries"] > numbers["numRetries"]:
        raise _refused(parameter, f"{where}.numRetries must be greater than or equal to the retries of its phases together")


def _check_throttle(throttle: Mapping[str, Any], parameter: str) -> None:
    if throttle.get("maxReceivesPerSecond") is not None:
        raise _refused(parameter, "lambdad does not throttle deliveries; leave out maxReceivesPerSecond")


def _check_request(request: Mapping[str, Any], parameter: str) -> None:
    _check_keys(request, {"headerContentType"}, parameter)
    given = request.get("headerContentType")
    if given is None:
        return
    if not isinstance(given, str) or not given.isprintable() or given.partition(";")[0].strip().lower() not in _CONTENT_TYPES:
        raise _refused(parameter, "requestPolicy.headerContentType is not supported")


def _object(document: str, parameter: str) -> dict[str, Any]:
    try:
        return json_text.parse_object(document)
    except ValueError:
        raise _refused(parameter, "failed to parse JSON.") from None


def _member(policy: Mapping[str, Any], name: str, parameter: str) -> Mapping[str, Any]:
    found = policy.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise _refused(parameter, f"{name} must be an object")
    return found


def _check_keys(policy: Mapping[str, Any], known: Any, parameter: str) -> None:
    for name in policy:
        if name not in known:
            raise _refused(parameter, f"unknown field {name}")


def _read(document: str | None) -> dict[str, Any]:
    return json.loads(document) if document else {}


def _refused(parameter: str, reason: str) -> errors.InvalidParameter:
    return errors.InvalidParameter(f"{parameter}: {reason}")


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))

"""Which pages of other hosts a bucket lets browsers read it from. Source: S3 User Guide, "Using cross-origin resource sharing (CORS)"."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

Headers = list[tuple[str, str]]

_METHODS: Final = ("GET", "PUT", "POST", "DELETE", "HEAD")


def check(configuration: Mapping[str, Any]) -> None:
    """
    Check a CORS configuration.

    Raises:
        MalformedXml: there are no rules, or too many.
        InvalidRequest: a method, an origin or a header is none that S3 takes.
    """
    rules: Sequence[Mapping[str, Any]] = configuration.get("CORSRules") or []
    if not 1 <= len(rules) <= limits.CORS_RULES:
        raise errors.MalformedXml
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise errors.MalformedXml
        for method in rule["AllowedMethods"]:
            if method not in _METHODS:
                raise errors.InvalidRequest(f"Found unsupported HTTP method in CORS config. Unsupported method is {method}")
        for origin in rule["AllowedOrigins"]:
            if origin.count("*") > 1:
                raise errors.InvalidRequest(f'AllowedOrigin "{origin}" can not have more than one wildcard.')
        for header in rule.get("AllowedHeaders", ()):
            if header.count("*") > 1:
                raise errors.InvalidRequest(f'AllowedHeader "{header}" can not have more than one wildcard.')
        for header in rule.get("ExposeHeaders", ()):
            if "*" in header:
                raise errors.InvalidRequest(
                    f'ExposeHeader "{header}" contains wildcard. We currently do not support wildcard for ExposeHeader.'
                )


def preflight(configuration: Mapping[str, Any] | None, origin: str, method: str, headers: str) -> Headers:
    """
    Answer a browser that asks before it sends.

    Args:
        headers: Access-Control-Request-Headers.

    Raises:
        S3Error: AccessForbidden, no rule lets it.
    """
    if configuration is None:
        raise errors.S3Error(
            "AccessForbidden", "CORSResponse: CORS is not enabled for this bucket.", status=403, Method=method, ResourceType="BUCKET"
        )
    asked = [name.strip().lower() for name in headers.split(",") if name.strip()]
    for rule in configuration["CORSRules"]:
        if _fits(rule, origin, method) and all(_any_fits(rule.get("AllowedHeaders", ()), name) for name in asked):
            answer = _answer(rule, origin)
            if asked:
                answer.append(("Access-Control-Allow-Headers", ", ".join(asked)))
            return answer
    raise errors.S3Error(
        "AccessForbidden",
        "CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
        "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        status=403,
        Method=method,
        ResourceType="OBJECT",
    )


def of_answer(configuration: Mapping[str, Any] | None, origin: str, method: str) -> Headers:
    """Return the headers that let a page of another host read an answer; none where no rule lets it."""
    for rule in (configuration or {}).get("CORSRules", ()):
        if _fits(rule, origin, method):
            return _answer(rule, origin)
    return []


def _fits(rule: Mapping[str, Any], origin: str, method: str) -> bool:
    return method in rule["AllowedMethods"] and any(_matches(pattern, origin) for pattern in rule["AllowedOrigins"])


def _any_fits(patterns: Sequence[str], header: str) -> bool:
    return any(_matches(pattern.lower(), header) for pattern in patterns)


def _matches(pattern: str, text: str) -> bool:
    head, star, tail = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(head) + len(tail) and text.startswith(head) and text.endswith(tail)


def _answer(rule: Mapping[str, Any], origin: str) -> Headers:
    is_for_all = "*" in rule["AllowedOrigins"]
    answer = [("Access-Control-Allow-Origin", "*" if is_for_all else origin)]
    if not is_for_all:
        answer.append(("Access-Control-Allow-Credentials", "true"))
    answer.append(("Access-Control-Allow-Methods", ", ".join(rule["AllowedMethods"])))
    if rule.get("ExposeHeaders"):
        answer.append(("Access-Control-Expose-Headers", ", ".join(rule["ExposeHeaders"])))
    if rule.get("MaxAgeSeconds"):
        answer.append(("Access-Control-Max-Age", str(rule["MaxAgeSeconds"])))
    answer.append(("Vary", "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"))
    return answer

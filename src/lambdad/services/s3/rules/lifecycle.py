"""Lifecycle rules: are they ones that S3 takes, and which objects and uploads has their time come for?

A rule is kept as in the service model. What is carried out: expiry of current versions, of noncurrent ones, of delete markers that are
alone, and the end of unfinished uploads. Transitions to other storage classes are kept and shown; there is only one kind of disk here.

Source: S3 User Guide, "Lifecycle configuration elements"; S3 API Reference, PutBucketLifecycleConfiguration.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from lambdad.services.s3 import errors
from lambdad.services.s3.rules import limits

DAY_MS: Final = 24 * 3600 * 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """An enabled rule, as it is carried out."""

    prefix: str
    tags: Mapping[str, str]
    larger_than: int | None
    smaller_than: int | None
    expire_days: int | None
    expire_at_ms: int | None
    removes_lonely_markers: bool
    noncurrent_days: int | None
    noncurrent_kept: int
    abort_days: int | None

    def concerns(self, key: str, tags: Mapping[str, str], size_bytes: int) -> bool:
        """Say whether the rule's filter lets an object through."""
        return (
            key.startswith(self.prefix)
            and all(tags.get(name) == value for name, value in self.tags.items())
            and (self.larger_than is None or size_bytes > self.larger_than)
            and (self.smaller_than is None or size_bytes < self.smaller_than)
        )

    def expires(self, modified_at_ms: int, now_ms: int) -> bool:
        """Say whether the time of a current version has come."""
        if self.expire_at_ms is not None:
            return now_ms >= self.expire_at_ms
        return self.expire_days is not None and now_ms >= due_ms(modified_at_ms, self.expire_days)

    def expires_noncurrent(self, noncurrent_at_ms: int, newer: int, now_ms: int) -> bool:
        """Say whether the time of a version that is not current has come; `newer` of its key are not current either, and newer."""
        return (
            self.noncurrent_days is not None and newer >= self.noncurrent_kept and now_ms >= due_ms(noncurrent_at_ms, self.noncurrent_days)
        )

    def aborts(self, initiated_at_ms: int, now_ms: int) -> bool:
        """Say whether the time of an upload has come."""
        return self.abort_days is not None and now_ms >= due_ms(initiated_at_ms, self.abort_days)


def due_ms(since_ms: int, days: int) -> int:
    """Return the midnight, UTC, that comes after so many days: S3 rounds up."""
    end_ms = since_ms + days * DAY_MS
    return -(-end_ms // DAY_MS) * DAY_MS


def rules_of(configuration: Mapping[str, Any]) -> list[Rule]:
    """Return the enabled rules of a configuration that was checked."""
    return [_rule(rule) for rule in configuration["Rules"] if rule["Status"] == "Enabled"]


def _rule(rule: Mapping[str, Any]) -> Rule:
    given: Mapping[str, Any] = rule.get("Filter") or {}
    both: Mapping[str, Any] = given.get("And") or {}
    tag_list = [given["Tag"]] if given.get("Tag") else both.get("Tags", [])
    expiration: Mapping[str, Any] = rule.get("Expiration") or {}
    noncurrent: Mapping[str, Any] = rule.get("NoncurrentVersionExpiration") or {}
    date = expiration.get("Date")
    return Rule(
        prefix=rule.get("Prefix") or given.get("Prefix") or both.get("Prefix") or "",
        tags={tag["Key"]: tag["Value"] for tag in tag_list},
        larger_than=given.get("ObjectSizeGreaterThan", both.get("ObjectSizeGreaterThan")),
        smaller_than=given.get("ObjectSizeLessThan", both.get("ObjectSizeLessThan")),
        expire_days=expiration.get("Days"),
        expire_at_ms=None if date is None else int(_moment(date).timestamp() * 1000),
        removes_lonely_markers=bool(expiration.get("ExpiredObjectDeleteMarker")),
        noncurrent_days=noncurrent.get("NoncurrentDays"),
        noncurrent_kept=noncurrent.get("NewerNoncurrentVersions", 0),
        abort_days=(rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation"),
    )


def _moment(date: str | datetime) -> datetime:
    return date if isinstance(date, datetime) else datetime.fromisoformat(date)


_ACTIONS: Final = (
    "Expiration",
    "Transitions",
    "NoncurrentVersionExpiration",
    "NoncurrentVersionTransitions",
    "AbortIncompleteMultipartUpload",
)


def checked(rules: Sequence[Mapping[str, Any]], new_ids: Sequence[str]) -> list[dict[str, Any]]:
    """
    Check a configuration's rules, and give an id to those that have none.

    Raises:
        MalformedXml: there are none or too many, or one is not as the schema says.
        InvalidRequest, InvalidArgument: one makes no sense.
    """
    if not 1 <= len(rules) <= limits.LIFECYCLE_RULES:
        raise errors.MalformedXml
    found: list[dict[str, Any]] = []
    for number, rule in enumerate(rules):
        if rule.get("Status") not in ("Enabled", "Disabled") or ("Prefix" in rule and "Filter" in rule):
            raise errors.MalformedXml
        if "Prefix" not in rule and "Filter" not in rule:
            raise errors.MalformedXml
        identifier = rule.get("ID") or new_ids[number]
        if len(identifier) > 255:
            raise errors.InvalidArgument("ID length should not exceed allowed limit of 255", "ID", identifier)
        if any(other["ID"] == identifier for other in found):
            raise errors.InvalidArgument(f"Rule ID must be unique. Found same ID for one or more rules: {identifier}", "ID", identifier)
        if not any(rule.get(action) for action in _ACTIONS):
            raise errors.InvalidRequest("At least one action needs to be specified in a rule")
        _check_filter(rule.get("Filter") or {})
        _check_actions(rule)
        found.append({**rule, "ID": identifier})
    return found


def _check_filter(given: Mapping[str, Any]) -> None:
    named = [name for name in ("Prefix", "Tag", "And", "ObjectSizeGreaterThan", "ObjectSizeLessThan") if given.get(name) is not None]
    if len(named) > 1:
        raise errors.MalformedXml
    both = given.get("And")
    if both is not None:
        count = len(both.get("Tags", ())) + sum(name in both for name in ("Prefix", "ObjectSizeGreaterThan", "ObjectSizeLessThan"))
        if count < 2:
            raise errors.MalformedXml


def _check_actions(rule: Mapping[str, Any]) -> None:
    expiration = rule.get("Expiration") or {}
    if len([name for name in ("Days", "Date", "ExpiredObjectDeleteMarker") if expiration.get(name) is not None]) > 1:
        raise errors.MalformedXml
    _check_days("Days", expiration.get("Days"), "'Days' for Expiration action must be a positive integer")
    date = expiration.get("Date")
    if date is not None and _moment(date).astimezone(UTC).time().isoformat() != "00:00:00":
        raise errors.InvalidArgument("'Date' must be at midnight GMT", "Date", str(date))
    noncurrent = rule.get("NoncurrentVersionExpiration") or {}
    _check_days(
        "NoncurrentDays",
        noncurrent.get("NoncurrentDays"),
        "'NoncurrentDays' for NoncurrentVersionExpiration action must be a positive integer",
    )
    if noncurrent.get("NewerNoncurrentVersions") is not None and "NoncurrentDays" not in noncurrent:
        raise errors.MalformedXml
    abort = (rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation")
    _check_days("DaysAfterInitiation", abort, "'DaysAfterInitiation' for AbortIncompleteMultipartUpload action must be a positive integer")
    if abort is not None and ((rule.get("Filter") or {}).get("Tag") or ((rule.get("Filter") or {}).get("And") or {}).get("Tags")):
        raise errors.InvalidRequest("AbortIncompleteMultipartUpload cannot be specified with Tags.")


def _check_days(name: str, days: int | None, message: str) -> None:
    if days is not None and days < 1:
        raise errors.InvalidArgument(message, name, days)


def widest_prefix(rules: Sequence[Rule]) -> str:
    """Return the longest prefix that all keys have which any of the rules concerns."""
    prefixes = sorted(rule.prefix for rule in rules)
    if not prefixes:
        return ""
    first, last = prefixes[0], prefixes[-1]
    count = 0
    while count < len(first) and count < len(last) and first[count] == last[count]:
        count += 1
    return first[:count]

"""Websites: which object answers for a path, and where a browser is sent instead.

Source: S3 User Guide, "Hosting a static website", "Configuring a webpage redirect".
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from lambdad.services.s3 import errors


class Redirect(NamedTuple):
    """Go there instead."""

    location: str
    status: int


def check(configuration: Mapping[str, Any]) -> None:
    """
    Check a website configuration.

    Raises:
        MalformedXml, InvalidArgument, InvalidRequest: it cannot be one.
    """
    index, everything = configuration.get("IndexDocument"), configuration.get("RedirectAllRequestsTo")
    if everything is not None:
        if any(configuration.get(name) is not None for name in ("IndexDocument", "ErrorDocument", "RoutingRules")):
            raise errors.InvalidArgument(
                "RedirectAllRequestsTo cannot be provided in conjunction with other Routing Rules.", "RedirectAllRequestsTo", "not null"
            )
        if not everything.get("HostName"):
            raise errors.MalformedXml
        return
    if index is None:
        raise errors.InvalidArgument(
            "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo is empty", "IndexDocument", "null"
        )
    suffix = index.get("Suffix", "")
    if not suffix or "/" in suffix:
        raise errors.InvalidArgument("The IndexDocument Suffix is not well formed", "IndexDocument", suffix)
    for rule in configuration.get("RoutingRules") or ():
        redirect = rule.get("Redirect") or {}
        if redirect.get("ReplaceKeyWith") is not None and redirect.get("ReplaceKeyPrefixWith") is not None:
            raise errors.InvalidRequest("You can only define ReplaceKeyPrefix or ReplaceKey but not both.")
        if not redirect:
            raise errors.MalformedXml


def keys(configuration: Mapping[str, Any], key: str) -> tuple[str, str | None]:
    """Return the key that answers for a path, and the one that says that a slash is missing: its folder's index document."""
    suffix = configuration["IndexDocument"]["Suffix"]
    if not key or key.endswith("/"):
        return key + suffix, None
    return key, f"{key}/{suffix}"


def redirect_all(configuration: Mapping[str, Any], key: str, protocol: str) -> Redirect | None:
    """Return where everything is sent, if it is."""
    everything = configuration.get("RedirectAllRequestsTo")
    if everything is None:
        return None
    return Redirect(f"{everything.get('Protocol') or protocol}://{everything['HostName']}/{key}", 301)


def redirect(configuration: Mapping[str, Any], key: str, status: int | None, protocol: str, host: str) -> Redirect | None:
    """
    Return where a routing rule sends a browser.

    Args:
        status: of the error that was met; None before anything was looked for.
    """
    for rule in configuration.get("RoutingRules") or ():
        condition, target = rule.get("Condition") or {}, rule["Redirect"]
        code = condition.get("HttpErrorCodeReturnedEquals")
        if (code is None) != (status is None) or (code is not None and str(code) != str(status)):
            continue
        prefix = condition.get("KeyPrefixEquals") or ""
        if not key.startswith(prefix):
            continue
        changed = key
        if target.get("ReplaceKeyWith") is not None:
            changed = target["ReplaceKeyWith"]
        elif target.get("ReplaceKeyPrefixWith") is not None:
            changed = target["ReplaceKeyPrefixWith"] + key[len(prefix) :]
        location = f"{target.get('Protocol') or protocol}://{target.get('HostName') or host}/{changed}"
        return Redirect(location, int(target.get("HttpRedirectCode") or 301))
    return None

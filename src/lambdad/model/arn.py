"""ARNs of Lambda's resources: parse what callers write, build what they are shown.

This module knows the grammar only; whether the caller may use another account's or region's function is decided elsewhere.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from lambdad.model.ids import AccountId, Region

LATEST = "$LATEST"

_REGION = r"(?:eusc-)?[a-z]{2}(?:-gov|-iso[a-z]?)?-[a-z]+-\d"

# The widest of the model's three patterns (NamespacedFunctionName); the narrower ones are enforced by the wire room
# before. `[a-zA-Z0-9-_.]+` is greedy on purpose: "arn:aws:lambda:us-east-1:000000000000:function" is a function called
# "function".
_FUNCTION = re.compile(
    rf"(?:arn:(?P<partition>aws[a-zA-Z-]*)?:lambda:)?(?:(?P<region>{_REGION}):)?(?:(?P<account>\d{{12}}):)?"
    r"(?:function:)?(?P<name>[a-zA-Z0-9\-_.]+)(?::(?P<qualifier>\$LATEST(?:\.PUBLISHED)?|[a-zA-Z0-9\-_]+))?"
)
_LAYER_VERSION = re.compile(
    rf"arn:(?P<partition>aws[a-zA-Z-]*):lambda:(?P<region>{_REGION}):(?P<account>\d{{12}}):"
    r"layer:(?P<name>[a-zA-Z0-9\-_]+):(?P<version>[0-9]+)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionReference:
    """What a caller wrote for ``FunctionName``; None for each part that was left out."""

    name: str
    qualifier: str | None = None
    account: AccountId | None = None
    region: Region | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerVersionReference:
    """The parts of a layer version's ARN."""

    account: AccountId
    region: Region
    name: str
    version: int


@lru_cache(maxsize=4096)  # most invocations name what others have named
def parse_function(text: str) -> FunctionReference | None:
    """
    Take a ``FunctionName`` parameter apart.

    Args:
        text: any of ``N``, ``N:Q``, ``function:N``, ``A:function:N[:Q]``, ``arn:aws:lambda:R:A:function:N[:Q]``.

    Returns:
        None where the text follows no form.

    Source: Lambda API Reference, NamespacedFunctionName.
    """
    match = _FUNCTION.fullmatch(text)
    if match is None:
        return None
    account, region = match["account"], match["region"]
    return FunctionReference(
        name=match["name"],
        qualifier=match["qualifier"],
        account=AccountId(account) if account else None,
        region=Region(region) if region else None,
    )


def parse_layer_version(text: str) -> LayerVersionReference | None:
    """Take a layer version's ARN apart; None where the text is no such ARN."""
    match = _LAYER_VERSION.fullmatch(text)
    if match is None:
        return None
    return LayerVersionReference(
        account=AccountId(match["account"]),
        region=Region(match["region"]),
        name=match["name"],
        version=int(match["version"]),
    )


@lru_cache(maxsize=256)
def partition(region: str) -> str:
    """Say which partition a region belongs to: ``aws``, ``aws-cn``, ``aws-us-gov``, ``aws-eusc`` or an isolated one."""
    if region.startswith("cn-"):
        return "aws-cn"
    if region.startswith("us-gov-"):
        return "aws-us-gov"
    if region.startswith("eusc-"):
        return "aws-eusc"
    isolated = re.match(r"[a-z]{2}-(iso[a-z]?)-", region)
    return f"aws-{isolated[1]}" if isolated else "aws"


def function(account: str, region: str, name: str, qualifier: str | None = None) -> str:
    """Build a function's ARN, with the qualifier (``$LATEST``, a version, an alias) if there is one."""
    unqualified = f"arn:{partition(region)}:lambda:{region}:{account}:function:{name}"
    return f"{unqualified}:{qualifier}" if qualifier else unqualified


def layer(account: str, region: str, name: str) -> str:
    """Build a layer's ARN."""
    return f"arn:{partition(region)}:lambda:{region}:{account}:layer:{name}"


def layer_version(account: str, region: str, name: str, version: int) -> str:
    """Build a layer version's ARN."""
    return f"{layer(account, region, name)}:{version}"


def runtime_version(region: str, digest: str) -> str:
    """Build a managed runtime version's ARN; ``digest`` is 64 hex digits."""
    return f"arn:{partition(region)}:lambda:{region}::runtime:{digest}"

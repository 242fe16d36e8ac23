"""Names and ARNs of EventBridge's resources: what callers write, and what they are shown."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from lambdad.model import arn
from lambdad.model.ids import AccountId, Region
from lambdad.services.events import errors

DEFAULT: Final = "default"

_BUS_ARN: Final = re.compile(r"arn:aws[\w-]*:events:([a-z0-9-]+):(\d{12}):event-bus/([/.\-_A-Za-z0-9]+)", re.ASCII)
_ARN: Final = re.compile(r"arn:aws[\w-]*:events:([a-z0-9-]+):(\d{12}):(rule|event-bus|archive|replay)/(.+)", re.ASCII | re.DOTALL)


@dataclass(frozen=True, slots=True)
class BusKey:
    """An event bus's identity."""

    account: AccountId
    region: Region
    name: str


@dataclass(frozen=True, slots=True)
class RuleKey:
    """A rule's identity."""

    bus: BusKey
    name: str


def bus_key(account: AccountId, region: Region, name_or_arn: str | None) -> BusKey:
    """Read the name or ARN of a bus as a caller of an account and region writes it; None means the default bus."""
    if name_or_arn is None:
        return BusKey(account, region, DEFAULT)
    if match := _BUS_ARN.fullmatch(name_or_arn):
        return BusKey(AccountId(match[2]), Region(match[1]), match[3])
    return BusKey(account, region, name_or_arn)


def bus_arn(bus: BusKey) -> str:
    """Write a bus's ARN."""
    return f"{_prefix(bus.account, bus.region)}:event-bus/{bus.name}"


def rule_arn(rule: RuleKey) -> str:
    """Write a rule's ARN; the default bus is not named in it."""
    bus = rule.bus
    path = rule.name if bus.name == DEFAULT else f"{bus.name}/{rule.name}"
    return f"{_prefix(bus.account, bus.region)}:rule/{path}"


def archive_arn(account: str, region: str, name: str) -> str:
    """Write an archive's ARN."""
    return f"{_prefix(account, region)}:archive/{name}"


def replay_arn(account: str, region: str, name: str) -> str:
    """Write a replay's ARN."""
    return f"{_prefix(account, region)}:replay/{name}"


def archive_of_arn(text: str) -> tuple[AccountId, Region, str] | None:
    """Read an archive's ARN; None where it is none."""
    match = _ARN.fullmatch(text)
    return (AccountId(match[2]), Region(match[1]), match[4]) if match is not None and match[3] == "archive" else None


def with_tags(text: str) -> RuleKey | BusKey | None:
    """Read the ARN of something that has tags, a rule or a bus; None where it is none."""
    match = _ARN.fullmatch(text)
    if match is None:
        return None
    account, region, path = AccountId(match[2]), Region(match[1]), match[4]
    if match[3] == "event-bus":
        return BusKey(account, region, path)
    if match[3] == "rule":
        bus, _, name = path.rpartition("/")
        return RuleKey(BusKey(account, region, bus or DEFAULT), name)
    return None


def token(name: str) -> str:
    """Write the token with which a list goes on behind a name."""
    return base64.urlsafe_b64encode(name.encode()).decode().rstrip("=")


def parse_token(text: str | None) -> str:
    """
    Read a token that `token` wrote; "" where there is none.

    Raises:
        InvalidValue: it is none.
    """
    if text is None:
        return ""
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise errors.InvalidValue("Parameter NextToken is not valid.") from None


def _prefix(account: str, region: str) -> str:
    return f"arn:{arn.partition(region)}:events:{region}:{account}"

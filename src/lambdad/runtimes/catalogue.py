"""AWS's runtime identifiers: what they mean, and which of them may be used for new functions on a given day.

Source: Lambda Developer Guide, "Lambda runtimes", as published in September 2026.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class Family(StrEnum):
    """The language of a runtime, by the first part of its identifier."""

    PYTHON = "python"
    NODEJS = "nodejs"
    JAVA = "java"
    DOTNET = "dotnet"
    RUBY = "ruby"
    GO = "go"
    PROVIDED = "provided"


class Standing(StrEnum):
    """What may be done with a runtime on a given day. Functions of every standing can still be invoked."""

    SUPPORTED = "supported"
    DEPRECATED = "deprecated"  # create and update still work
    CREATE_BLOCKED = "create-blocked"  # update still works
    BLOCKED = "blocked"  # neither


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """One runtime identifier of AWS.

    Args:
        name: e.g. ``python3.13``.
        version: of the language, e.g. (3, 13) or (22,); empty for OS-only runtimes.
        system: ``AL2023``, ``AL2`` or ``AL1``: what AWS runs it on.
        deprecated_on, create_blocked_on, update_blocked_on: first day of each; None means "not scheduled".
    """

    name: str
    family: Family
    version: tuple[int, ...]
    system: str
    deprecated_on: date | None = None
    create_blocked_on: date | None = None
    update_blocked_on: date | None = None

    def standing(self, today: date) -> Standing:
        """Say what may be done with this runtime on ``today``."""
        if self.update_blocked_on is not None and today >= self.update_blocked_on:
            return Standing.BLOCKED
        if self.create_blocked_on is not None and today >= self.create_blocked_on:
            return Standing.CREATE_BLOCKED
        if self.deprecated_on is not None and today >= self.deprecated_on:
            return Standing.DEPRECATED
        return Standing.SUPPORTED


_EVER = date.min
_DEFERRED_CREATE, _DEFERRED_UPDATE = date(2027, 2, 1), date(2027, 3, 3)  # AWS put all these blocks off to the same days


def _scheduled(deprecated: str, create: str, update: str) -> tuple[date, date, date]:
    return date.fromisoformat(deprecated), date.fromisoformat(create), date.fromisoformat(update)


def _old(deprecated: str) -> tuple[date, date, date]:
    return date.fromisoformat(deprecated), _DEFERRED_CREATE, _DEFERRED_UPDATE


def _closed(deprecated: str) -> tuple[date, date, date]:
    return date.fromisoformat(deprecated), _EVER, _DEFERRED_UPDATE


_NEVER: tuple[None, None, None] = (None, None, None)
_GONE = (_EVER, _EVER, _EVER)
_MID_2029 = _scheduled("2029-06-30", "2029-07-31", "2029-08-31")
_MID_2027 = _scheduled("2027-06-30", "2027-07-31", "2027-08-31")

_TABLE: tuple[tuple[str, Family, tuple[int, ...], str, tuple[date | None, date | None, date | None]], ...] = (
    ("nodejs26.x", Family.NODEJS, (26,), "AL2023", _NEVER),
    ("nodejs24.x", Family.NODEJS, (24,), "AL2023", _scheduled("2028-04-30", "2028-06-01", "2028-07-01")),
    ("nodejs22.x", Family.NODEJS, (22,), "AL2023", _scheduled("2027-04-30", "2027-06-01", "2027-07-01")),
    ("nodejs20.x", Family.NODEJS, (20,), "AL2023", _old("2026-04-30")),
    ("nodejs18.x", Family.NODEJS, (18,), "AL2", _old("2025-09-01")),
    ("nodejs16.x", Family.NODEJS, (16,), "AL2", _old("2024-06-12")),
    ("nodejs14.x", Family.NODEJS, (14,), "AL2", _closed("2023-12-04")),
    ("nodejs12.x", Family.NODEJS, (12,), "AL2", _GONE),
    ("nodejs10.x", Family.NODEJS, (10,), "AL2", _GONE),
    ("nodejs8.10", Family.NODEJS, (8, 10), "AL1", _GONE),
    ("nodejs6.10", Family.NODEJS, (6, 10), "AL1", _GONE),
    ("nodejs4.3", Family.NODEJS, (4, 3), "AL1", _GONE),
    ("nodejs4.3-edge", Family.NODEJS, (4, 3), "AL1", _GONE),
    ("nodejs", Family.NODEJS, (0, 10), "AL1", _GONE),
    ("python3.15", Family.PYTHON, (3, 15), "AL2023", _NEVER),
    ("python3.14", Family.PYTHON, (3, 14), "AL2023", _MID_2029),
    ("python3.13", Family.PYTHON, (3, 13), "AL2023", _MID_2029),
    ("python3.12", Family.PYTHON, (3, 12), "AL2023", _scheduled("2028-10-31", "2028-11-30", "2029-01-10")),
    ("python3.11", Family.PYTHON, (3, 11), "AL2", _MID_2027),
    ("python3.10", Family.PYTHON, (3, 10), "AL2", _old("2026-10-31")),
    ("python3.9", Family.PYTHON, (3, 9), "AL2", _old("2025-12-15")),
    ("python3.8", Family.PYTHON, (3, 8), "AL2", _old("2024-10-14")),
    ("python3.7", Family.PYTHON, (3, 7), "AL1", _closed("2023-12-04")),
    ("python3.6", Family.PYTHON, (3, 6), "AL1", _GONE),
    ("python2.7", Family.PYTHON, (2, 7), "AL1", _GONE),
    ("java25", Family.JAVA, (25,), "AL2023", _MID_2029),
    ("java21", Family.JAVA, (21,), "AL2023", _MID_2029),
    ("java17.al2023", Family.JAVA, (17,), "AL2023", _NEVER),
    ("java11.al2023", Family.JAVA, (11,), "AL2023", _NEVER),
    ("java8.al2023", Family.JAVA, (8,), "AL2023", _NEVER),
    ("java17", Family.JAVA, (17,), "AL2", _MID_2027),
    ("java11", Family.JAVA, (11,), "AL2", _MID_2027),
    ("java8.al2", Family.JAVA, (8,), "AL2", _MID_2027),
    ("java8", Family.JAVA, (8,), "AL1", _closed("2024-01-08")),
    ("dotnet10", Family.DOTNET, (10,), "AL2023", _scheduled("2028-11-14", "2028-12-14", "2029-01-15")),
    ("dotnet8", Family.DOTNET, (8,), "AL2023", _old("2026-11-10")),
    ("dotnet6", Family.DOTNET, (6,), "AL2", _old("2024-12-20")),
    ("dotnetcore3.1", Family.DOTNET, (3, 1), "AL2", _GONE),
    ("dotnetcore2.1", Family.DOTNET, (2, 1), "AL1", _GONE),
    ("dotnetcore2.0", Family.DOTNET, (2, 0), "AL1", _GONE),
    ("dotnetcore1.0", Family.DOTNET, (1, 0), "AL1", _GONE),
    ("ruby4.0", Family.RUBY, (4, 0), "AL2023", _scheduled("2029-03-31", "2029-04-30", "2029-05-31")),
    ("ruby3.4", Family.RUBY, (3, 4), "AL2023", _scheduled("2028-03-31", "2028-04-30", "2028-05-31")),
    ("ruby3.3", Family.RUBY, (3, 3), "AL2023", _scheduled("2027-03-31", "2027-04-30", "2027-05-31")),
    ("ruby3.2", Family.RUBY, (3, 2), "AL2", _old("2026-03-31")),
    ("ruby2.7", Family.RUBY, (2, 7), "AL2", _closed("2023-12-07")),
    ("ruby2.5", Family.RUBY, (2, 5), "AL1", _GONE),
    ("go1.x", Family.GO, (1,), "AL1", _closed("2024-01-08")),
    ("provided.al2023", Family.PROVIDED, (), "AL2023", _MID_2029),
    ("provided.al2", Family.PROVIDED, (), "AL2", _old("2026-07-31")),
    ("provided", Family.PROVIDED, (), "AL1", _closed("2024-01-08")),
)

RUNTIMES: dict[str, Runtime] = {
    name: Runtime(
        name=name,
        family=family,
        version=version,
        system=system,
        deprecated_on=days[0],
        create_blocked_on=days[1],
        update_blocked_on=days[2],
    )
    for name, family, version, system, days in _TABLE
}

PRINTED: tuple[str, ...] = (
    "nodejs20.x",
    "python3.14",
    "provided.al2023",
    "python3.12",
    "python3.13",
    "nodejs24.x",
    "nodejs22.x",
    "java25",
    "python3.10",
    "python3.11",
    "java21",
    "ruby3.3",
    "ruby3.4",
    "ruby3.2",
    "python3.8",
    "python3.9",
    "java17",
    "nodejs16.x",
    "dotnet10",
    "dotnet8",
    "java11",
    "dotnet6",
    "nodejs18.x",
    "provided.al2",
    "java8.al2",
)
"""The set that the service prints when it refuses a runtime, in the service's order."""  # OBSERVED: 2025-11 from the service


CURRENT: tuple[str, ...] = tuple(name for name, runtime in RUNTIMES.items() if runtime.create_blocked_on != _EVER)
"""What functions could be created with on the day of this catalogue, previews included."""


def find(name: str) -> Runtime | None:
    """Return the runtime with this identifier, which is case-sensitive; None when AWS has none."""
    return RUNTIMES.get(name)


def natural_order(name: str) -> list[tuple[bool, int | str]]:
    """Return a sort key that goes by the numbers in a name: python3.9 comes before python3.10."""
    return [(part.isdigit(), int(part) if part.isdigit() else part) for part in re.split(r"(\d+)", name)]


def creatable(today: date) -> frozenset[str]:
    """Return the identifiers that CreateFunction accepts on ``today``."""
    return frozenset(name for name, runtime in RUNTIMES.items() if runtime.standing(today) in (Standing.SUPPORTED, Standing.DEPRECATED))


def refusal(value: str, printed: Iterable[str] = PRINTED) -> str:
    """Return AWS's message for a runtime that is not accepted.

    >>> refusal("python9.9", ["python3.13"])
    "Value python9.9 at 'runtime' failed to satisfy constraint: Member must satisfy enum value set: [python3.13] or be a valid ARN"

    Source: the service, recorded in November 2025.
    """
    return (
        f"Value {value} at 'runtime' failed to satisfy constraint: "
        f"Member must satisfy enum value set: [{', '.join(printed)}] or be a valid ARN"
    )

"""Publishing: when a publish makes a new version, and what the version looks like.

Source: Lambda developer guide, "Manage Lambda function versions".
"""

from dataclasses import dataclass, fields, replace

from lambdad.model.function import Function, FunctionVersion
from lambdad.services.lambda_ import errors
from lambdad.services.lambda_.rules import lifecycle, revisions

# What identifies or dates a version, or says how far its preparation is. All else makes it a different version.
_NOT_COMPARED = frozenset(
    {
        "version",
        "description",
        "description_of_latest",
        "deployment_id",
        "revision_id",
        "last_modified",
        "runtime_version_arn",
        "has_vpc_config",
        "state",
        "state_reason",
        "state_reason_code",
        "last_update_status",
        "last_update_status_reason",
        "last_update_status_reason_code",
    }
)
_COMPARED = tuple(field.name for field in fields(FunctionVersion) if field.name not in _NOT_COMPARED)


@dataclass(frozen=True, slots=True)
class Published:
    """The function after a publish, the version to answer with, and whether it is new."""

    function: Function
    version: FunctionVersion
    is_new: bool


def last_published(function: Function) -> FunctionVersion | None:
    """Give the published version with the highest number; None where there is none."""
    return max(function.versions.values(), key=lambda version: int(version.version), default=None)


def is_unchanged(latest: FunctionVersion, published: FunctionVersion) -> bool:
    """Say whether ``$LATEST`` has the code and the settings that a version was published with."""
    return latest.description == published.description_of_latest and all(
        getattr(latest, name) == getattr(published, name) for name in _COMPARED
    )


def require_code_sha256(given: str | None, current: str) -> None:
    """
    Refuse to publish other code than the caller means. Both in base64.

    Raises:
        InvalidParameterValue: they differ.
    """
    if given and given != current:
        raise errors.InvalidParameterValue(
            f"CodeSHA256 ({given}) is different from current CodeSHA256 in $LATEST ({current}). "
            "Please try again with the CodeSHA256 in $LATEST."
        )


def publish(
    function: Function,
    *,
    description: str | None,
    new_revision_ids: tuple[str, str],
    new_deployment_id: str,
    settled: bool,
) -> Published:
    """
    Make a version of ``$LATEST``, unless nothing changed since the last one.

    Args:
        description: the version's; None copies the one of ``$LATEST``. It does not count for the comparison.
        new_revision_ids: for ``$LATEST`` and for the version.
        settled: whether the version comes Active at once (its code is unpacked already) or Pending.
    """
    last = last_published(function)
    if last is not None and is_unchanged(function.latest, last):
        return Published(function, last, False)
    version = replace(
        function.latest,
        version=str(function.next_version),
        description=function.latest.description if description is None else description,
        description_of_latest=function.latest.description,
        deployment_id=new_deployment_id,
        revision_id=new_revision_ids[1],
    )
    if settled:
        version = lifecycle.ready(version)
    else:
        version = lifecycle.created(version)
    changed = revisions.touched(function, None, new_revision_ids[0])
    changed = replace(changed, versions={**function.versions, version.version: version}, next_version=function.next_version + 1)
    return Published(changed, version, True)

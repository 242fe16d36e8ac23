"""RevisionIds: who has one, and what a change of one means.

``$LATEST``, each published version and each alias has its own. Tags, permissions and publishing give a new one to the resource
without changing what runs, so its ``deployment_id`` stays.

Source: Lambda API Reference, RevisionId.
"""

from dataclasses import replace

from lambdad.model.function import LATEST, Function, FunctionVersion
from lambdad.services.lambda_ import errors


def require(given: str | None, current: str, call: str = "GetFunction/GetAlias") -> None:
    """
    Refuse a change that was decided on an older revision.

    Args:
        given: the caller's RevisionId; None or "" asks for no check.

    Raises:
        PreconditionFailed: it is not the current one.
    """
    if given and given != current:
        raise errors.PreconditionFailed(call)


def with_latest(function: Function, latest: FunctionVersion) -> Function:
    """Change how ``$LATEST`` is shown; what runs stays the same object where it is the same deployment."""
    serving = function.serving
    if serving is not None and serving.deployment_id == latest.deployment_id:
        serving = latest
    return replace(function, latest=latest, serving=serving)


def current(function: Function, qualifier: str | None) -> str:
    """Give the RevisionId of ``$LATEST`` (None), a version or an alias, which must exist."""
    if qualifier is None or qualifier == LATEST:
        return function.latest.revision_id
    if qualifier in function.aliases:
        return function.aliases[qualifier].revision_id
    return function.versions[qualifier].revision_id


def touched(function: Function, qualifier: str | None, revision_id: str) -> Function:
    """Give a new RevisionId to ``$LATEST`` (None), a version or an alias, which must exist."""
    if qualifier is None or qualifier == LATEST:
        return with_latest(function, replace(function.latest, revision_id=revision_id))
    if qualifier in function.aliases:
        alias = replace(function.aliases[qualifier], revision_id=revision_id)
        return replace(function, aliases={**function.aliases, qualifier: alias})
    version = replace(function.versions[qualifier], revision_id=revision_id)
    return replace(function, versions={**function.versions, qualifier: version})

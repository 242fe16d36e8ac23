"""Decide what a function's state allows, and which state comes after which.

        create ──► Pending ──prepared──► Active ◄──────────prepared/failed──────┐
                      └──failed──► Failed     └──update──► Active, InProgress ──┘

An update changes what is shown (`Function.latest`) at once; what runs (`Function.serving`) follows when it is prepared. A failed
update shows, and goes on running, what was there before it.

Source: Lambda developer guide, "Lambda function states".
"""

from dataclasses import replace

from lambdad.model import arn
from lambdad.model.function import (
    LATEST,
    Function,
    FunctionVersion,
    LastUpdateStatus,
    State,
    StateReasonCode,
)
from lambdad.services.lambda_ import errors

BEING_CREATED = "The function is being created."


def require_invocable(version: FunctionVersion) -> None:
    """
    Refuse to invoke what is not ready.

    Raises:
        ResourceConflict: its state is not Active.
        SnapStartFailed: its Init phase failed, of which a snapshot should have been kept.
    """
    if version.state is State.FAILED and version.has_snapshots:
        raise errors.SnapStartFailed()
    if version.state is not State.ACTIVE:
        raise _in_state(version.state)


def require_changeable(function: Function) -> None:
    """
    Refuse an operation that needs ``$LATEST`` to be settled: UpdateFunctionCode, UpdateFunctionConfiguration, PublishVersion.

    Raises:
        ResourceConflict: it is Pending or Failed, or an update is in progress.
    """
    if function.latest.state is not State.ACTIVE:
        raise _in_state(function.latest.state)
    require_no_update(function)


def require_no_update(function: Function) -> None:
    """
    Refuse an operation while an update is in progress: TagResource.

    Raises:
        ResourceConflict: an update is in progress.
    """
    if function.latest.last_update_status is LastUpdateStatus.IN_PROGRESS:
        raise errors.ResourceConflict(
            "The operation cannot be performed at this time. An update is in progress for resource: "
            + arn.function(function.account, function.region, function.name)
        )


def _in_state(state: State) -> errors.ResourceConflict:
    return errors.ResourceConflict(
        f"The operation cannot be performed at this time. The function is currently in the following state: {state.value}"
    )


def is_unsettled(version: FunctionVersion) -> bool:
    """Say whether a version still has to be prepared."""
    return version.state is State.PENDING or version.last_update_status is LastUpdateStatus.IN_PROGRESS


def created(version: FunctionVersion) -> FunctionVersion:
    """Give a new function or version the state it has until it is prepared."""
    return replace(
        version,
        state=State.PENDING,
        state_reason=BEING_CREATED,
        state_reason_code=StateReasonCode.CREATING.value,
        last_update_status=None,
        last_update_status_reason=None,
        last_update_status_reason_code=None,
    )


def updated(version: FunctionVersion) -> FunctionVersion:
    """Give an updated ``$LATEST`` the status it has until it is prepared; the reason's text is AWS's, for updates too."""
    return replace(
        version,
        state=State.ACTIVE,
        state_reason=None,
        state_reason_code=None,
        last_update_status=LastUpdateStatus.IN_PROGRESS,
        last_update_status_reason=BEING_CREATED,
        last_update_status_reason_code=StateReasonCode.CREATING.value,
    )


def ready(version: FunctionVersion) -> FunctionVersion:
    """Give the state of a version that is prepared."""
    return replace(
        version,
        state=State.ACTIVE,
        state_reason=None,
        state_reason_code=None,
        last_update_status=LastUpdateStatus.SUCCESSFUL,
        last_update_status_reason=None,
        last_update_status_reason_code=None,
    )


def prepared(function: Function, version: FunctionVersion, revision_id: str) -> Function:
    """
    Say what becomes of a function when one of its versions has been prepared.

    Args:
        version: as it was when preparation began. Where the function has moved on since (deleted version, newer
            deployment), nothing changes.
        revision_id: the second new one of the mutation.

    Returns:
        The same object where nothing changes.
    """
    current = function.version(version.version)
    if current is None or current.deployment_id != version.deployment_id or not is_unsettled(current):
        return function
    settled = replace(ready(current), revision_id=revision_id)
    if version.version == LATEST:
        return replace(function, latest=settled, serving=settled)
    return replace(function, versions={**function.versions, settled.version: settled})


def failed(function: Function, version: FunctionVersion, reason: str, reason_code: StateReasonCode, revision_id: str) -> Function:
    """
    Say what becomes of a function when one of its versions could not be prepared.

    Returns:
        The same object where the function has moved on since.
    """
    current = function.version(version.version)
    if current is None or current.deployment_id != version.deployment_id or not is_unsettled(current):
        return function
    if current.last_update_status is LastUpdateStatus.IN_PROGRESS and function.serving is not None:
        kept = replace(
            function.serving,
            last_update_status=LastUpdateStatus.FAILED,
            last_update_status_reason=reason,
            last_update_status_reason_code=reason_code.value,
            revision_id=revision_id,
        )
        return replace(function, latest=kept, serving=kept)
    broken = replace(
        current,
        state=State.FAILED,
        state_reason=reason,
        state_reason_code=reason_code.value,
        revision_id=revision_id,
    )
    if version.version == LATEST:
        return replace(function, latest=broken)
    return replace(function, versions={**function.versions, broken.version: broken})

"""What a metric filter may make of the events that fit its pattern, decided from the request alone."""

from collections.abc import Callable
from typing import Any

from lambdad.services.logs import errors
from lambdad.services.logs.rules import comparisons, limits, patterns


def check(request: dict[str, Any], pattern: patterns.FilterPattern) -> dict[str, Any]:
    """
    Check the transformation of PutMetricFilter, and what else is asked for.

    Args:
        pattern: of the filter, compiled.

    Returns:
        The transformation, as DescribeMetricFilters shows it.

    Raises:
        InvalidParameter: a value is neither a number nor taken from the event, or takes from it what the pattern does not name;
            there are too many dimensions, or a default value beside them; or something is asked for that is not here.
    """
    if request.get("applyOnTransformedLogs"):
        raise errors.InvalidParameter("The log group has no transformer; applyOnTransformedLogs cannot be true.")
    if request.get("fieldSelectionCriteria"):
        raise errors.InvalidParameter("lambdad does not have fieldSelectionCriteria; use the filter pattern.")
    if request.get("emitSystemFieldDimensions"):
        raise errors.InvalidParameter("lambdad does not have emitSystemFieldDimensions.")
    transformation: dict[str, Any] = request["metricTransformations"][0]
    value: str = transformation["metricValue"]
    if comparisons.number(value) is None and not _names_field(pattern, value):
        raise _invalid(f"the metric value '{value}' is neither a number nor a field of the filter pattern")
    dimensions: dict[str, str] = transformation.get("dimensions", {})
    if not dimensions:
        return transformation
    if "defaultValue" in transformation:
        raise _invalid("dimensions and default value are mutually exclusive properties.")
    if len(dimensions) > limits.METRIC_DIMENSIONS:
        raise _invalid(f"there can be at most {limits.METRIC_DIMENSIONS} dimensions.")
    for field in dimensions.values():
        if not _names_field(pattern, field):
            raise _invalid(f"the dimension '{field}' is no field of the filter pattern")
    return transformation


def _names_field(pattern: patterns.FilterPattern, text: str) -> bool:
    """Say whether a text names a field that events of the pattern have: ``$.latency`` of JSON, ``$bytes`` between blanks."""
    kinds: dict[str, Callable[[], bool]] = {
        "json": lambda: text.startswith(("$.", "$[")) and len(text) > 2,
        "delimited": lambda: text in pattern.names,
    }
    return pattern.kind in kinds and kinds[pattern.kind]()


def _invalid(why: str) -> errors.InvalidParameter:
    return errors.InvalidParameter(f"Invalid metric transformation: {why}")

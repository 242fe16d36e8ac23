"""Decide which version an invocation of an alias runs."""

from lambdad.model.function import Alias


def choose(alias: Alias, pick: float) -> str:
    """
    Give the version that this invocation runs.

    Args:
        pick: uniformly random, 0.0 <= pick < 1.0; drawn for each invocation anew, for there is no stickiness.

    Source: Lambda developer guide, "Lambda alias routing".
    """
    for version, weight in alias.additional:
        if pick < weight:
            return version
        pick -= weight
    return alias.function_version

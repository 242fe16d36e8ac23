"""What an account uses of its code storage.

Source: Lambda API Reference, AccountUsage: every function version counts, whether it shares its code with another or not.
"""

from lambdad.model.function import Function


def code_bytes(function: Function) -> int:
    """Give the bytes that a function's versions count for."""
    return function.latest.code_size_bytes + sum(version.code_size_bytes for version in function.versions.values())

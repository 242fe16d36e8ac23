"""Reserved concurrency: how much of an account's limit one function may keep for itself.

Source: Lambda developer guide, "Configuring reserved concurrency".
"""

from lambdad.services.lambda_ import errors


def check(wanted: int, reserved_by_others: int, account_limit: int, unreserved_min: int) -> None:
    """
    Refuse a reservation that leaves too little for the functions without one.

    Args:
        wanted: 0 blocks the function altogether, and is always possible.
        reserved_by_others: the sum over all other functions of the account in the region.
        account_limit: concurrent executions of the account in the region.
        unreserved_min: what must stay unreserved.

    Raises:
        InvalidParameterValue
    """
    if wanted and account_limit - reserved_by_others - wanted < unreserved_min:
        raise errors.InvalidParameterValue(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
            f"its minimum value of [{unreserved_min}].",
            typed=False,
        )

"""Reserved concurrency: how much of an account's limit one function may keep for itself.

Source: Lambda developer guide, "Configuring reserved concurrency".
"""

from lambdad.services.lambda_ import errors


def check(wanted: int, claimed_by_others: int, account_limit: int, unreserved_min: int, *, provisioned: int = 0) -> None:
    """
    Refuse a reservation that leaves too little for the functions without one.

    Args:
        wanted: 0 blocks the function altogether.
        claimed_by_others: what all other functions of the account in the region keep from its unreserved pool.
        account_limit: concurrent executions of the account in the region.
        unreserved_min: what must stay unreserved.
        provisioned: all that is provisioned for the function itself; it is a part of the reservation.

    Raises:
        InvalidParameterValue
    """
    if wanted < provisioned:
        raise errors.InvalidParameterValue(
            f" ReservedConcurrentExecutions  {wanted} should not be lower than function's total provisioned concurrency [{provisioned}].",
            typed=False,
        )
    if wanted and account_limit - claimed_by_others - wanted < unreserved_min:
        raise errors.InvalidParameterValue(
            "Specified ReservedConcurrentExecutions for function decreases account's UnreservedConcurrentExecution below "
            f"its minimum value of [{unreserved_min}].",
            typed=False,
        )

"""Which address links in messages begin with."""

import ipaddress
from urllib.parse import urlsplit


def endpoint_for(reached: str, otherwise: str) -> str:
    """
    Choose how a subscriber is told to reach lambdad.

    Args:
        reached: how who subscribed did, "http://127.0.0.1:4566"; "" if that is not known.
        otherwise: where lambdad listens.

    Returns:
        The first; the second where the first leads to lambdad only from within a function's environment.
    """
    if not reached:
        return otherwise
    try:
        is_inside = ipaddress.ip_address(urlsplit(reached).hostname or "").is_link_local
    except ValueError:
        is_inside = False  # a name
    return otherwise if is_inside else reached

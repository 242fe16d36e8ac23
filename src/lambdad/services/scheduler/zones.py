"""Time zones by their names in the IANA database, as this machine or Python's tzdata package has it."""

import functools
import zoneinfo
from datetime import tzinfo


@functools.lru_cache(maxsize=1024)
def find(name: str) -> tzinfo | None:
    """Find a time zone; None where there is none of that name."""
    try:
        return zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return None

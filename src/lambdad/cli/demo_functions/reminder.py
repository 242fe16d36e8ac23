"""Say when the schedule was to start this, and when it did."""

import json
from datetime import UTC, datetime
from typing import Any


def handler(event: dict[str, Any], context: Any) -> None:
    """Take the input of a schedule: {"planned": "2026-01-31T12:00:00+00:00"}."""
    print(json.dumps({"planned": event["planned"], "started": datetime.now(UTC).isoformat()}))

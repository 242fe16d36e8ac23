"""Work off orders from a queue. Every 50th order fails when it is seen for the first time, and comes back."""

import json
from typing import Any


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Take a batch of messages; say which of them are to be tried again."""
    handled: list[int] = []
    failed: list[dict[str, str]] = []
    for record in event["Records"]:
        number = int(json.loads(record["body"])["order"])
        if number % 50 == 0 and record["attributes"]["ApproximateReceiveCount"] == "1":
            failed.append({"itemIdentifier": record["messageId"]})
        else:
            handled.append(number)
    print(json.dumps({"handled": handled, "failed": len(failed)}))
    return {"batchItemFailures": failed}

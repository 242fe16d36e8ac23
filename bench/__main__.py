"""
`make bench`: everything that is promised, measured in one run.

Names on the command line limit what is measured: those of `PARTS`, and of the functions in `bench/invoke.py` (python, boto3, …).
"""

import platform
import sys
from collections.abc import Callable

from bench import burst, density, event_invokes, events, invoke, s3, sns, sqs, sqs_to_function

PARTS: dict[str, Callable[[], None]] = {
    "burst": burst.run,
    "density": density.run,
    "event-invokes": event_invokes.run,
    "queues": sqs.run,
    "sqs": sqs_to_function.run,
    "events": events.run,
    "sns": sns.run,
    "s3": s3.run,
}

if __name__ == "__main__":
    only = frozenset(sys.argv[1:])
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    if not only or only - PARTS.keys():
        invoke.run(only)
    for name, run in PARTS.items():
        if not only or name in only:
            run()

"""
`make bench`: everything that is promised, measured in one run.

Names (python, boto3, snapstart, node, ruby, provided, java, burst, density, events) limit what is measured.
"""

import platform
import sys

from bench import burst, density, event_invokes, invoke

if __name__ == "__main__":
    only = frozenset(sys.argv[1:])
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    if not only or only - {"burst", "density", "events"}:
        invoke.run(only)
    if not only or "burst" in only:
        burst.run()
    if not only or "events" in only:
        event_invokes.run()
    if not only or "density" in only:
        density.run()

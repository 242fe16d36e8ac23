"""
`make bench`: everything that is promised, measured in one run.

Names (python, boto3, snapstart, node, provided, java, burst) limit what is measured.
"""

import platform
import sys

from bench import burst, invoke

if __name__ == "__main__":
    only = frozenset(sys.argv[1:])
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    if only != {"burst"}:
        invoke.run(only)
    if not only or "burst" in only:
        burst.run()

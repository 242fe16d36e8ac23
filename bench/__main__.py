"""`make bench`: everything that is promised, measured in one run. Names (python, node, provided) limit what is measured."""

import platform
import sys

from bench import invoke

if __name__ == "__main__":
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    invoke.run(frozenset(sys.argv[1:]))

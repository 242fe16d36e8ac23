"""`make bench`: everything that is promised, measured in one run."""

import platform

from bench import invoke

if __name__ == "__main__":
    print(f"{platform.platform()}, Python {platform.python_version()}\n")
    invoke.run()

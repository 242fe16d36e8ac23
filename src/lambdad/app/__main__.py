"""The processes that `lambdad up` starts: `python -m lambdad.app server|worker`, settings as JSON on standard input."""

import logging
import os
import sys

from lambdad.kit import process
from lambdad.settings import Settings


def main() -> None:
    role, parent_pid = sys.argv[1], int(sys.argv[2])
    settings = Settings.from_json(sys.stdin.read())
    process.die_with_parent(parent_pid)
    logging.basicConfig(
        level=settings.log_level.upper(),
        format=f"%(asctime)s {role} %(levelname)s %(name)s %(message)s",
        stream=sys.stderr,
    )
    os.umask(0o022)
    process.raise_descriptor_limit()
    if role == "worker":
        from lambdad.app import worker

        worker.main(settings, port=int(sys.argv[3]), server_uid=int(sys.argv[4]))
    elif role == "server":
        from lambdad.app import server

        server.main(settings, listen_fd=int(sys.argv[3]), ready_fd=int(sys.argv[4]))
    else:
        raise SystemExit(f"unknown role: {role}")


if __name__ == "__main__":
    main()

"""`lambdad`: the commands and their options. Each command's module is imported only when it runs."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from lambdad import __version__


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lambdad",
        description="AWS Lambda on your own machines: AWS's own API, real sandboxes, started in milliseconds.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="serve the API and run functions, until interrupted")
    _add_settings(up)

    demo = commands.add_parser(
        "demo", help="start lambdad, let a bucket, a schedule and a queue start functions, show what happens, and stop"
    )
    demo.add_argument("--image", type=Path, help="a photograph to make a thumbnail of; without it a picture is drawn")
    demo.add_argument("--out", type=Path, default=Path(".demo"), help="where the demo keeps its files (default: %(default)s)")

    doctor = commands.add_parser("doctor", help="say what this machine can do for functions, and what is missing")
    _add_settings(doctor)

    runtimes = commands.add_parser("runtimes", help="say what runs each of AWS's runtimes here, and how to add what is missing")
    runtimes.add_argument("action", nargs="?", choices=["install"], help="install what AWS brings for a language")
    runtimes.add_argument("language", nargs="?", choices=["java"], help="the language: only Java needs it")
    runtimes.add_argument("--from", dest="jars", type=Path, metavar="DIR", help="take AWS's jars from here instead of asking Maven")
    runtimes.add_argument("--json", action="store_true", help="print the list as JSON")
    runtimes.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    runtimes.add_argument("--runtimes", choices=["nearest", "exact"], help="whether a near version of a language will do")

    commands.add_parser("version", help="print the version")
    return parser


def _add_settings(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", metavar="FILE", help="a TOML file of settings")
    command.add_argument("--host", help="address to serve on (default: 127.0.0.1)")
    command.add_argument("--port", type=int, help="port to serve on; 0 takes a free one (default: 4566)")
    command.add_argument("--data-dir", type=Path, metavar="DIR", help="everything durable is kept here")
    command.add_argument("--auth", choices=["open", "iam"], help="open: any credential, on loopback only; iam: signatures are checked")
    command.add_argument("--database-url", metavar="URL", help="postgresql://... instead of SQLite in the data directory")
    command.add_argument("--isolation", choices=["auto", "namespaces", "plain"], help="how functions are fenced in (default: auto)")
    command.add_argument("--runtimes", choices=["nearest", "exact"], help="whether a near version of a language will do (default: nearest)")
    command.add_argument("--egress", choices=["off", "on"], help="whether functions reach the internet; on needs root (default: off)")
    command.add_argument("--egress-allow", metavar="CIDRS", help="private networks that functions may reach, separated by commas")
    command.add_argument("--egress-deny", metavar="CIDRS", help="further networks that functions may not reach")
    command.add_argument("--log-level", choices=["debug", "info", "warning", "error"], help="lambdad's own log, on stderr")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 success, 1 failure, 2 wrong usage."""
    given = _parser().parse_args(arguments)
    if given.command == "version":
        print(f"lambdad {__version__}")
        return 0
    try:
        match given.command:
            case "up":
                from lambdad.cli import up

                return up.run(vars(given))
            case "doctor":
                from lambdad.cli import doctor

                return doctor.run(vars(given))
            case "runtimes":
                from lambdad.cli import runtimes

                return runtimes.run(vars(given))
            case _:
                from lambdad.cli import demo

                return demo.run(image=given.image, out=given.out)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())

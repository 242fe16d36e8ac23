"""The Extensions, Telemetry and Logs APIs, as the processes of one environment see them at 127.0.0.1:9001.

Knows paths, headers and answers; the decisions are `machines.extensions`'s. What comes in is hostile: bodies over `MAX_BODY_BYTES` are
not looked at, and anything unknown is refused without touching the environment.

Source: AWS Lambda developer guide, "Extensions API" (version 2020-01-01), "Telemetry API" (2022-07-01), "Logs API" (2020-08-15).
"""

import json
import re
from typing import Protocol

import msgspec

from lambdad.kit import http1
from lambdad.machines import extensions, platform_text, telemetry

PREFIX = "/2020-01-01/extension/"
TELEMETRY = "/2022-07-01/telemetry"
LOGS = "/2020-08-15/logs"
MAX_BODY_BYTES = 64 * 1024
MAX_NAME = 256
_JSON = [("content-type", "application/json")]
_ACCEPTED = b'{"status":"OK"}\n'
_IDENTIFIER = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")
_HEADER, _ERROR_TYPE = "Lambda-Extension-Identifier", "Lambda-Extension-Function-Error-Type"


class Connection(Protocol):
    """A connection of the Runtime API's listener."""

    extension_poll: str  # identifier of the extension whose `next` waits here, or ""

    def respond(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None: ...


class Crew(Protocol):
    """What the APIs need of an environment's extensions."""

    def register(self, name: str, events: tuple[str, ...]) -> str: ...

    def has(self, identifier: str) -> bool: ...

    def next_called(self, connection: Connection, identifier: str) -> None: ...

    def error_reported(self, identifier: str, error_type: str, *, in_init: bool) -> None: ...

    def subscribe(self, identifier: str, subscription: telemetry.Subscription) -> None: ...

    def about(self) -> dict[str, str]: ...

    account: str


class _Registration(msgspec.Struct):
    events: list[str] | None = None
    configurationKeys: list[str] | None = None


_registration_decoder = msgspec.json.Decoder(_Registration | None)


def is_one(target: str) -> bool:
    """Say whether a request is for one of these APIs."""
    return target.startswith((PREFIX, TELEMETRY, LOGS))


def handle(connection: Connection, crew: Crew, request: http1.Request) -> None:
    """Answer a request, now or (an extension's `next`) when there is an event."""
    try:
        match request.method, request.target:
            case "POST", "/2020-01-01/extension/register":
                _register(connection, crew, request)
            case "GET", "/2020-01-01/extension/event/next":
                crew.next_called(connection, _identifier(crew, request))
            case "POST", ("/2020-01-01/extension/init/error" | "/2020-01-01/extension/exit/error") as target:
                _error(connection, crew, request, in_init=target.endswith("init/error"))
            case "PUT", "/2022-07-01/telemetry":
                _subscribe(connection, crew, request, telemetry.Api.TELEMETRY)
            case "PUT", "/2020-08-15/logs":
                _subscribe(connection, crew, request, telemetry.Api.LOGS)
            case method, target:
                _refuse(connection, 404, "NotFound", f"There is no {method} {target[:200]} here.")
    except extensions.Refused as refused:
        _refuse(connection, 403, refused.error_type, str(refused))


def _refuse(connection: Connection, status: int, error_type: str, message: str) -> None:
    body = json.dumps({"errorMessage": message, "errorType": error_type}).encode()
    connection.respond(status, _JSON, body)


def _identifier(crew: Crew, request: http1.Request) -> str:
    given = request.headers.get("lambda-extension-identifier", "")
    if not given:
        raise extensions.Refused("Extension.MissingExtensionIdentifier", f"Missing {_HEADER} header")
    if not _IDENTIFIER.fullmatch(given):
        raise extensions.Refused("Extension.InvalidExtensionIdentifier", f"Invalid {_HEADER}")
    given = given.lower()
    if not crew.has(given):
        raise extensions.Refused("Extension.UnknownExtensionIdentifier", f"Unknown extension {given}")
    return given


def _register(connection: Connection, crew: Crew, request: http1.Request) -> None:
    name = request.headers.get("lambda-extension-name", "")
    if not name:
        raise extensions.Refused("Extension.InvalidExtensionName", "Empty extension name")
    if len(name) > MAX_NAME:
        raise extensions.Refused("Extension.InvalidExtensionName", "Extension name is too long")
    if request.oversize or len(request.body) > MAX_BODY_BYTES:
        raise extensions.Refused("InvalidRequestFormat", "request body is too large")
    try:
        given = _registration_decoder.decode(request.body) or _Registration()
    except (ValueError, RecursionError) as error:
        raise extensions.Refused("InvalidRequestFormat", str(error)[:200]) from error
    if given.configurationKeys:
        raise extensions.Refused("InvalidRequestFormat", "configurationKeys are deprecated; use environment variables instead")
    identifier = crew.register(name, tuple(dict.fromkeys(given.events or ())))
    about = crew.about()
    features = request.headers.get("lambda-extension-accept-feature", "")
    if "accountId" in [feature.strip() for feature in features.split(",")]:
        about["accountId"] = crew.account
    connection.respond(200, [*_JSON, (_HEADER, identifier)], json.dumps(about).encode())


def _error(connection: Connection, crew: Crew, request: http1.Request, *, in_init: bool) -> None:
    identifier = _identifier(crew, request)
    given = request.headers.get(_ERROR_TYPE.lower(), "")
    if not given:
        raise extensions.Refused("Extension.MissingHeader", f"{_ERROR_TYPE} not found")
    error_type = platform_text.normal_error_type(given, "Extension.Unknown")
    crew.error_reported(identifier, error_type, in_init=in_init)
    connection.respond(202, _JSON, _ACCEPTED)


def _subscribe(connection: Connection, crew: Crew, request: http1.Request, api: telemetry.Api) -> None:
    identifier = _identifier(crew, request)
    try:
        if request.oversize:
            raise telemetry.InvalidSubscription("request body is too large")
        subscription = telemetry.parse(api, request.body)
    except telemetry.InvalidSubscription as invalid:
        _refuse(connection, 400, "ValidationError", str(invalid))
        return
    crew.subscribe(identifier, subscription)
    connection.respond(200, _JSON, b'"OK"')

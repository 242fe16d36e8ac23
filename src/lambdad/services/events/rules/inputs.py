"""What a target is sent: the event, a part of it, a constant, or a template filled in.

In a template ``<name>`` stands for what a path finds in the event, or for one of AWS's own variables. Outside quotation marks a value
is inserted as JSON; within them as bare text, lists and objects without their quotation marks: ``"<state> of [a,b]"``.

Source: EventBridge user guide, "Input transformation"; details as recorded from the service.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

from lambdad.machines import json_paths
from lambdad.services.events.rules import events
from lambdad.services.events.rules.events import Event
from lambdad.wire import json_shapes

_PLACEHOLDER: Final = re.compile(r"<([a-zA-Z0-9._-]+)>")
_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,256}", re.ASCII)
_RULE_ARN: Final = "aws.events.rule-arn"
_RULE_NAME: Final = "aws.events.rule-name"
_INGESTION: Final = "aws.events.event.ingestion-time"
_EVENT: Final = "aws.events.event"
_EVENT_JSON: Final = "aws.events.event.json"
_RESERVED: Final = frozenset((_RULE_ARN, _RULE_NAME, _INGESTION, _EVENT, _EVENT_JSON))


class InvalidInput(ValueError):
    """A target's input cannot be used; the text says why."""


class _TooDeep(ValueError):
    """A value is nested too deeply to be written again."""


def check(target: Mapping[str, Any]) -> None:
    """
    Check the input of a target as PutTargets takes it.

    Raises:
        InvalidInput: it cannot be used.
    """
    name = target["Id"]
    if sum(key in target for key in ("Input", "InputPath", "InputTransformer")) > 1:
        raise InvalidInput(f"Only one of Input, InputPath, or InputTransformer must be provided for target {name}.")
    if "Input" in target and not _is_json(target["Input"]):
        raise InvalidInput(f"JSON syntax error in input for target {name}.")
    if "InputPath" in target:
        _path(target["InputPath"], f"InputPath for target {name} is invalid.")
    if "InputTransformer" in target:
        transformer = target["InputTransformer"]
        paths = transformer.get("InputPathsMap", {})
        for key, path in paths.items():
            if not _KEY.fullmatch(key) or key.lower().startswith("aws"):
                raise InvalidInput(f"InputPathsMap for target {name} contains invalid key {key}.")
            _path(path, f"InputPathsMap for target {name} contains invalid path {path}.")
        for placeholder in _PLACEHOLDER.findall(transformer["InputTemplate"]):
            if placeholder not in paths and placeholder not in _RESERVED:
                raise InvalidInput(f"InputTemplate for target {name} contains invalid placeholder {placeholder}.")


def render(target: Mapping[str, Any], event: Event, rule_name: str, rule_arn: str) -> str | None:
    """
    Write what a target is sent.

    Returns:
        JSON, or lines that are JSON each; None where a template comes to neither, and nothing is sent.
    """
    try:
        return _render(target, event, rule_name, rule_arn)
    except _TooDeep:
        return None


def _render(target: Mapping[str, Any], event: Event, rule_name: str, rule_arn: str) -> str | None:
    if "Input" in target:
        return str(target["Input"])
    if "InputPath" in target:
        try:
            return _dumps(json_paths.find(event.body, json_paths.parse(target["InputPath"])))
        except json_paths.Missing:
            return "null"
    if "InputTransformer" in target:
        transformer = target["InputTransformer"]
        paths = {key: json_paths.parse(path) for key, path in transformer.get("InputPathsMap", {}).items()}

        def value_of(name: str) -> Any:
            if name in paths:
                try:
                    return json_paths.find(event.body, paths[name])
                except json_paths.Missing:
                    return ""
            return _reserved(name, event, rule_name, rule_arn)

        return fill(transformer["InputTemplate"], value_of)
    return event.text


def fill(template: str, value_of: Callable[[str], Any]) -> str | None:
    """
    Fill in a template.

    Args:
        value_of: gives the value of a placeholder's name.

    Returns:
        None where what comes out is neither JSON nor lines of JSON.
    """
    is_structure = template.lstrip()[:1] in ("{", "[")
    out: list[str] = []
    quoted = False
    index = 0
    while index < len(template):
        character = template[index]
        match = _PLACEHOLDER.match(template, index) if character == "<" else None
        if match is not None:
            value = value_of(match[1])
            if not quoted:
                out.append(_dumps(value))
            elif isinstance(value, list) and is_structure:
                return None  # OBSERVED: nothing is delivered
            else:
                out.append(_bare(value))
            index = match.end()
            continue
        if character == "\\" and quoted:
            out.append(template[index : index + 2])
            index += 2
            continue
        if character == '"':
            quoted = not quoted
        out.append(character)
        index += 1
    text = "".join(out)
    lines = [line for line in text.splitlines() if line.strip()]
    return text if _is_json(text) or (lines and all(map(_is_json, lines))) else None


def _bare(value: Any) -> str:
    """Write a value as it stands within quotation marks."""
    if isinstance(value, str):
        return _dumps(value)[1:-1]
    if isinstance(value, list | dict):
        return _dumps(value).replace("\\", "").replace('"', "")
    return _dumps(value)


def _reserved(name: str, event: Event, rule_name: str, rule_arn: str) -> Any:
    match name:
        case "aws.events.rule-arn":
            return rule_arn
        case "aws.events.rule-name":
            return rule_name
        case "aws.events.event.ingestion-time":
            return events.iso_seconds(event.received_at_ms)
        case "aws.events.event.json":
            return event.body
        case _:
            # OBSERVED: without the detail, and with detail-type under another name.
            shown = {"detailType" if key == "detail-type" else key: value for key, value in event.body.items()}
            del shown["detail"]
            return shown


def _path(text: str, message: str) -> None:
    try:
        json_paths.parse(text)
    except json_paths.InvalidPath:
        raise InvalidInput(message) from None


def _is_json(text: str) -> bool:
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError:
        return False
    return True


def _dumps(value: Any) -> str:
    try:
        return json_shapes.dumps(value).decode()
    except RecursionError:
        raise _TooDeep from None

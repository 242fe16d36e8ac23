"""Message attributes: checked, as filters compare them, and as each kind of subscriber gets them."""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambdad.services.sns import errors
from lambdad.services.sns.rules import json_text

_NAME = re.compile(r"(?!\.)(?!.*\.\.)[A-Za-z0-9_.-]{1,256}(?<!\.)")
_TYPE = re.compile(r"(?:String|Number|Binary)(?:\..+)?")
_TYPE_CHARACTERS: Final = 256
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d{1,4})?", re.ASCII)
_NUMBER_CHARACTERS: Final = 200


@dataclass(frozen=True, slots=True)
class Attribute:
    """A message attribute: its type ("String", "String.Array", "Number", "Binary" or "Number.cents"), and a value of text or bytes."""

    type: str
    value: str | bytes

    @property
    def size_bytes(self) -> int:
        """What type and value count for in a message's size."""
        return len(self.type.encode()) + len(self.value if isinstance(self.value, bytes) else self.value.encode())

    @property
    def text(self) -> str:
        """The value as envelopes have it: bytes in base64."""
        return self.value if isinstance(self.value, str) else base64.b64encode(self.value).decode()


def checked(given: Mapping[str, Mapping[str, Any]]) -> dict[str, Attribute]:
    """
    Check attributes as Publish takes them: ``{"k": {"DataType": "String", "StringValue": "v"}}``.

    Raises:
        InvalidAttributeValue: one of them cannot be.
    """
    return {name: _checked(name, value) for name, value in given.items()}


def _checked(name: str, given: Mapping[str, Any]) -> Attribute:
    if not _NAME.fullmatch(name):
        raise errors.InvalidAttributeValue(
            f"The message attribute name '{name}' is invalid. Attribute name can contain A-Z, a-z, 0-9, underscore (_), "
            "hyphen (-), and period (.) characters, must not start or end with a period or have successive periods, "
            "and can be up to 256 characters long."
        )
    type_ = given.get("DataType", "")
    if not type_:
        raise errors.InvalidAttributeValue(f"The message attribute '{name}' must contain non-empty message attribute type.")
    if len(type_) > _TYPE_CHARACTERS or not _TYPE.fullmatch(type_):
        raise errors.InvalidAttributeValue(
            f"The message attribute '{name}' has an invalid message attribute type, "
            "the set of supported type prefixes is Binary, Number, and String."
        )
    kind = type_.partition(".")[0]
    wanted, other = ("BinaryValue", "StringValue") if kind == "Binary" else ("StringValue", "BinaryValue")
    if given.get(other):
        raise errors.InvalidAttributeValue(
            f"The message attribute '{name}' with type '{type_}' must use field '{wanted.removesuffix('Value')}'."
        )
    value = given.get(wanted)
    if not value:
        raise errors.InvalidAttributeValue(
            f"The message attribute '{name}' must contain non-empty message attribute value for message attribute type '{type_}'."
        )
    if kind == "Number" and (len(value) > _NUMBER_CHARACTERS or not _NUMBER.fullmatch(value)):
        raise errors.InvalidAttributeValue(f"Could not cast message attribute '{name}' value to number.")
    return Attribute(type_, value)


def comparable(attributes: Mapping[str, Attribute]) -> dict[str, Any]:
    """Return attributes as filters compare them: text, numbers, and what the text of a String.Array lists; nothing of binary ones."""
    found: dict[str, Any] = {}
    for name, attribute in attributes.items():
        value = attribute.value
        if isinstance(value, bytes):
            continue
        if attribute.type == "String.Array":
            listed = _listed(value)
            if listed is not None:
                found[name] = listed
        elif attribute.type.startswith("Number"):
            found[name] = float(value)
        else:
            found[name] = value
    return found


def _listed(text: str) -> list[Any] | None:
    try:
        found = json_text.parse(text)
    except ValueError:
        return None
    return found if isinstance(found, list) else [found]


def in_envelope(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, str]]:
    """Return attributes as envelopes and events have them: ``{"k": {"Type": "String", "Value": "v"}}``."""
    return {name: {"Type": attribute.type, "Value": attribute.text} for name, attribute in attributes.items()}


def for_sqs(attributes: Mapping[str, Attribute]) -> dict[str, dict[str, Any]]:
    """Return attributes as SendMessage takes them."""
    return {
        name: {"DataType": attribute.type, "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue": attribute.value}
        for name, attribute in attributes.items()
    }

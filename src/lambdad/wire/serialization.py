"""The one error of bytes that are not what the service model says: SerializationException, in AWS's words."""

from typing import Any, NoReturn

from lambdad.model.errors import AwsError

_TOKENS: dict[type, str] = {
    str: "STRING_VALUE",
    int: "NUMBER_VALUE",
    float: "NUMBER_VALUE",
    dict: "Start of structure or map found where not expected.",
    list: "Start of list found where not expected",
}


def serialization_error(message: str | None = None) -> AwsError:
    """Return the error to raise; AWS says nothing at all about bytes that are no JSON."""
    return AwsError("SerializationException", message, status=400)


def mismatch(value: Any, wanted: str) -> NoReturn:
    """
    Refuse a value of the wrong type.

    Args:
        value: what was sent, as JSON or CBOR read it.
        wanted: "a String", "an Integer", "a Long", "a Boolean" ...
    """
    if value is True or value is False:
        token = "TRUE_VALUE" if value else "FALSE_VALUE"
    else:
        token = _TOKENS.get(type(value), "VALUE")
    if token.startswith("Start of"):
        raise serialization_error(token)
    raise serialization_error(f"{token} can not be converted to {wanted}")


def unexpected_scalar() -> NoReturn:
    """Refuse a scalar where a structure, map or list belongs."""
    raise serialization_error("Unexpected field type")

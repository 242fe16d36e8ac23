"""What may be sent to a function: JSON of a bounded size, and a client context.

Source: Lambda API Reference, Invoke. The texts after "Could not parse" are the service's JSON parser's; where ours finds another
fault first, the text differs, and the code and status do not.
"""

import base64
import binascii
import json
from typing import Any

import orjson

from lambdad.model import limits
from lambdad.model.errors import AwsError
from lambdad.services.lambda_ import errors

_SOURCE = "at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: {line}, column: {column}]"


def event(payload: bytes, limit_bytes: int) -> bytes:
    """
    Check the payload of an invocation and return what the function gets: the payload itself, or `{}` for an empty one.

    Raises:
        TooLarge: 413, more than `limit_bytes`.
        AwsError: InvalidRequestContentException, it is not JSON.
    """
    if len(payload) > limit_bytes:
        raise errors.TooLarge(f"Request must be smaller than {limit_bytes} bytes for the InvokeFunction operation")
    if not payload:
        return b"{}"
    try:
        orjson.loads(payload)
    except orjson.JSONDecodeError:
        fault = _fault(payload)  # more lenient: lone surrogates and deep nesting are the function's to judge
        if fault is not None:
            text = f"Could not parse request body into json: Could not parse payload into json: {fault}"
            raise _invalid_content(text) from None
    return payload


def client_context(text: str | None) -> str:
    """
    Decode the `X-Amz-Client-Context` header into the JSON text that the function's runtime gets; "" when there is none.

    Raises:
        AwsError: InvalidRequestContentException, it is too long, or not base64 of a JSON object.
    """
    if not text:
        return ""
    if len(text) > limits.CLIENT_CONTEXT_BYTES:
        raise _invalid_content(f"Client context must be no more than {limits.CLIENT_CONTEXT_BYTES} bytes.")
    try:
        decoded: Any = json.loads(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        decoded = None
    if not isinstance(decoded, dict):
        raise _invalid_content("Client context must be a valid Base64-encoded JSON object.")
    return json.dumps(decoded, separators=(",", ":"))


def _invalid_content(message: str) -> AwsError:
    return AwsError("InvalidRequestContentException", message, status=400, members={"Type": "User"})


def _fault(payload: bytes) -> str | None:
    try:
        text = payload.decode("utf-8")
    except UnicodeDecodeError as error:
        before = payload[: error.start]
        line, column = before.count(b"\n") + 1, error.start - (before.rfind(b"\n") + 1) + 1
        return f"Invalid UTF-8 start byte 0x{payload[error.start]:x}\n {_SOURCE.format(line=line, column=column)}"
    try:
        json.loads(text)
    except RecursionError:
        return None
    except json.JSONDecodeError as error:
        where = _SOURCE.format(line=error.lineno, column=error.colno + 1)
        if error.pos >= len(text):
            return f"Unexpected end-of-input\n {where}"
        found = text[error.pos]
        expected = "expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')"
        return f"Unexpected character ('{found}' (code {ord(found)})): {expected}\n {where}"
    return None

"""Answers for requests whose service lambdad has no model loaded for: nothing says which it is, or it is one that is not built."""

from typing import Any

import orjson

from lambdad.model.errors import AwsError
from lambdad.wire.http import Request, Response

_FORM = "application/x-www-form-urlencoded"


def error_for(service: str, request: Request) -> AwsError:
    """Return what to say: the path means nothing, or the service is AWS's and not ours."""
    if not service:
        return AwsError("UnknownOperationException", "The requested operation is not recognized by the service.", status=404)
    target = request.headers.get("x-amz-target", "").rpartition(".")[2]
    named = f"{service}:{target}" if target else service
    return AwsError("NotImplementedException", f"{named} is not implemented by lambdad.", status=501)


def respond(error: AwsError, request_id: str, request: Request) -> Response:
    """Write an error in the shape that the request looks like expecting: Query's XML, or JSON with the type in a header too."""
    if request.headers.get("content-type", "").startswith(_FORM):
        return _xml(error, request_id)
    document: dict[str, Any] = {"message": error.message}
    if "x-amz-target" in request.headers:
        document = {"__type": error.code, **document}
    headers = [
        ("Content-Type", "application/json"),
        ("x-amzn-RequestId", request_id),
        ("x-amzn-ErrorType", error.code),
    ]
    return Response(error.status, headers, orjson.dumps(document))


def _xml(error: AwsError, request_id: str) -> Response:
    fault = "Sender" if error.status < 500 else "Receiver"
    body = (
        f"<ErrorResponse><Error><Type>{fault}</Type><Code>{_escaped(error.code)}</Code>"
        f"<Message>{_escaped(error.message or '')}</Message></Error><RequestId>{request_id}</RequestId></ErrorResponse>"
    )
    headers = [("Content-Type", "text/xml"), ("x-amzn-RequestId", request_id)]
    return Response(error.status, headers, body.encode())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")

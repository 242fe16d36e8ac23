"""How long the wire room takes for one call: match, parse, validate and respond, in microseconds."""

import base64
import json
import timeit
from collections.abc import Callable

from lambdad.wire.codec import load
from lambdad.wire.http import Request

REQUEST_ID = "5f0c1a4e-0d5b-4c4f-9a53-2b6d7c1e8f90"
HEADERS = {
    "host": "127.0.0.1:4566",
    "user-agent": "Boto3/1.44.5",
    "authorization": "AWS4-HMAC-SHA256 Credential=AKID/20260101/us-east-1/lambda/aws4_request",
    "x-amz-date": "20260101T000000Z",
    "content-type": "application/json",
}
INVOKE = Request(
    "POST",
    "/2015-03-31/functions/my-function/invocations",
    "",
    {**HEADERS, "x-amz-invocation-type": "RequestResponse", "x-amz-log-type": "None"},
    b'{"key": "value"}' * 64,
)
CREATE = Request(
    "POST",
    "/2015-03-31/functions",
    "",
    HEADERS,
    json.dumps(
        {
            "FunctionName": "my-function",
            "Runtime": "python3.12",
            "Role": "arn:aws:iam::000000000000:role/lambda-role",
            "Handler": "app.handler",
            "Code": {"ZipFile": base64.b64encode(bytes(10_000)).decode()},
            "Timeout": 30,
            "MemorySize": 512,
            "Environment": {"Variables": {"STAGE": "test", "TABLE_NAME": "things"}},
            "Tags": {"team": "a", "cost-centre": "b"},
            "Architectures": ["x86_64"],
            "Layers": ["arn:aws:lambda:us-east-1:000000000000:layer:my-layer:3"],
        }
    ).encode(),
)
CONFIGURATION = {
    "FunctionName": "my-function",
    "FunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:my-function",
    "Runtime": "python3.12",
    "Role": "arn:aws:iam::000000000000:role/lambda-role",
    "Handler": "app.handler",
    "CodeSize": 10_000,
    "Timeout": 30,
    "MemorySize": 512,
    "LastModified": "2026-01-01T00:00:00.000+0000",
    "CodeSha256": "A" * 44,
    "Version": "$LATEST",
    "Environment": {"Variables": {"STAGE": "test", "TABLE_NAME": "things"}},
    "TracingConfig": {"Mode": "PassThrough"},
    "State": "Pending",
    "Layers": [{"Arn": "arn:aws:lambda:us-east-1:000000000000:layer:my-layer:3", "CodeSize": 5}],
    "Architectures": ["x86_64"],
    "EphemeralStorage": {"Size": 512},
}


def invoke() -> None:
    call = load("lambda").match(INVOKE)
    call.validate(call.parse())
    call.respond({"StatusCode": 200, "ExecutedVersion": "$LATEST", "Payload": b'{"ok": true}'}, REQUEST_ID)


def create() -> None:
    call = load("lambda").match(CREATE)
    call.validate(call.parse())
    call.respond(CONFIGURATION, REQUEST_ID)


def microseconds(work: Callable[[], None]) -> float:
    """Return the best of seven runs."""
    work()
    return min(timeit.repeat(work, number=2000, repeat=7)) / 2000 * 1e6


def main() -> None:
    for name, work in (("Invoke", invoke), ("CreateFunction", create)):
        print(f"{name:16} {microseconds(work):7.1f} µs")


if __name__ == "__main__":
    main()

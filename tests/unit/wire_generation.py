"""Values for any shape of botocore's models, from a seed, and botocore's own serialisers and parsers around them.

Nothing here reads a model through lambdad: botocore's classes are the oracle.
"""

import copy
import functools
import io
import random
import string
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import botocore.loaders
import botocore.model
import botocore.parsers
import botocore.serialize
from botocore.awsrequest import create_request_object, prepare_request_dict
from botocore.compat import HTTPHeaders

from lambdad.wire.http import Request, Response
from lambdad.wire.query import SQS_TRAITS

SERVICES = {
    "lambda": ["rest-json"],
    "s3": ["rest-xml"],
    "sqs": ["json", "query"],
    "sns": ["query"],
    "dynamodb": ["json"],
    "dynamodbstreams": ["json"],
    "kinesis": ["json"],
    "events": ["json"],
    "scheduler": ["rest-json"],
    "logs": ["json"],
    "cloudwatch": ["smithy-rpc-v2-cbor", "json", "query"],
    "iam": ["query"],
    "sts": ["query"],
    "apigateway": ["rest-json"],
    "apigatewayv2": ["rest-json"],
    "cloudformation": ["query"],
    "cloudfront": ["rest-xml"],
}
# Two members of these old structures are elements of the same name.
HIDDEN = {
    (shape, name)
    for shape in ("CloudFunctionConfiguration", "TopicConfigurationDeprecated", "QueueConfigurationDeprecated")
    for name in ("Event", "Events")
}
DIALECTS = [(service, protocol) for service, protocols in SERVICES.items() for protocol in protocols]


@functools.lru_cache(maxsize=2)
def botocore_model(service: str, protocol: str) -> botocore.model.ServiceModel:
    """Read a model afresh, so that its memory goes with the test; SQS's Query names are put back for that protocol.

    botocore's extras stay out: they make S3's Expires a timestamp, which S3 itself keeps as the text that it was given.
    """
    document = botocore.loaders.Loader(include_default_extras=False).load_service_model(service, "service-2")
    if (service, protocol) == ("sqs", "query"):
        document = copy.deepcopy(document)
        for name, traits in SQS_TRAITS.items():
            for trait, value in traits.items():
                shape = document["shapes"][name]
                if trait in ("member", "key", "value"):
                    shape[trait].update(value)
                else:
                    shape[trait] = value
        for operation in document["operations"].values():
            if "output" in operation:
                operation["output"]["resultWrapper"] = operation["name"] + "Result"
    return botocore.model.ServiceModel(document, service)


class Generator:
    """Makes values that a protocol can carry.

    Args:
        richness: 0..4; how many optional members and elements there are.
        allow_empty: whether the protocol tells an empty list, map or structure from an absent one.
        is_xml: texts hold only what XML 1.0 can say.
    """

    def __init__(self, seed: int, richness: int, protocol: str, *, is_output: bool) -> None:
        self.random = random.Random(seed)
        self.richness = richness
        self.is_output = is_output
        self.is_xml = protocol in ("rest-xml", "query")
        self.allow_empty = protocol in ("rest-json", "json", "smithy-rpc-v2-cbor")
        self.protocol = protocol

    def structure(self, shape: botocore.model.StructureShape, depth: int = 0) -> dict[str, Any]:
        members = shape.members
        if getattr(shape, "is_tagged_union", False):
            chosen = [self.random.choice([name for name in members if self.is_visible(members[name])])]
        else:
            share = self.richness / 4 if depth < 4 else 0.0
            chosen = [n for n in members if n in shape.required_members or self.random.random() < share]
            if not chosen and members and not self.allow_empty and depth:
                chosen = [next(iter(members))]
        found: dict[str, Any] = {}
        for name in chosen:
            member = members[name]
            if depth > 7 and member.type_name in ("structure", "list", "map") and name not in shape.required_members:
                continue
            if member.serialization.get("eventstream") or (shape.name, name) in HIDDEN:
                continue
            value = self.located(member, depth + 1)
            if value is not None:
                found[name] = value
        return found

    def is_visible(self, shape: botocore.model.Shape) -> bool:
        """Say whether the protocol can show that a union's member is there."""
        return self.allow_empty or shape.type_name != "structure" or bool(shape.members)

    def located(self, shape: botocore.model.Shape, depth: int) -> Any:
        location = shape.serialization.get("location")
        if location in (None, "statusCode"):
            return 200 if location else self.value(shape, depth)
        if location == "uri":
            return self.label(shape)
        if location == "headers":
            return {f"k{n}-x": self.header_text() for n in range(self.random.randint(1, 2))}
        if shape.type_name == "list":
            inner = shape.member
            return [self.outside(inner, location) for _ in range(self.random.randint(1, 2))]
        if shape.type_name == "map":
            return {f"zz{n}": self.text() for n in range(1, 3)}
        return self.outside(shape, location)

    def outside(self, shape: botocore.model.Shape, location: str) -> Any:
        if shape.type_name == "timestamp":
            default = "rfc822" if location == "header" else "iso8601"
            return self.moment(shape.serialization.get("timestampFormat", default), is_header=location == "header")
        if shape.serialization.get("hostLabel"):
            return self.word()
        if shape.type_name == "string" and location == "header":
            return self.enum(shape) or self.header_text()
        return self.value(shape, 9)

    def label(self, shape: botocore.model.Shape) -> Any:
        if shape.type_name != "string":
            return self.value(shape, 9)
        if shape.name == "BucketName":
            return self.word()
        return self.enum(shape) or self.text(minimum=1)

    def value(self, shape: botocore.model.Shape, depth: int) -> Any:
        match shape.type_name:
            case "structure":
                return {"any": [1, "x"]} if shape.is_document_type else self.structure(shape, depth)
            case "list":
                return [self.value(shape.member, depth + 1) for _ in range(self.count(depth))]
            case "map":
                return {self.enum(shape.key) or self.text(minimum=1): self.value(shape.value, depth + 1) for _ in range(self.count(depth))}
            case "string" | "character":
                return self.enum(shape) or self.text()
            case "boolean":
                return self.random.random() < 0.5
            case "integer":
                return self.random.choice([0, 1, -1, self.random.randint(-(2**31), 2**31 - 1)])
            case "long":
                return self.random.choice([0, 1, -(2**63), self.random.randint(0, 2**53), 2**63 - 1])
            case "float":
                return self.random.choice([0.0, 0.5, -1024.25, 3.0, self.endless()])
            case "double":
                return self.random.choice([0.0, 1.0, -0.1, 1e22, 5e-324, self.random.random(), -self.endless()])
            case "blob":
                return self.random.randbytes(self.random.randint(0, 5))
            case "timestamp":
                return self.moment(shape.serialization.get("timestampFormat"), is_header=False)
        raise AssertionError(shape.type_name)

    def endless(self) -> float:
        """Return infinity; botocore's JSON parser leaves it as text, so not in outputs of that."""
        return 7.5 if self.is_output and self.protocol == "json" else float("inf")

    def count(self, depth: int) -> int:
        lowest = 0 if self.allow_empty else 1
        return max(lowest, min(self.richness, self.random.randint(0, 2)) if depth < 5 else 0)

    def enum(self, shape: botocore.model.Shape) -> str | None:
        values = shape.metadata.get("enum")
        return self.random.choice(values) if values else None

    def word(self) -> str:
        return "".join(self.random.choice(string.ascii_lowercase) for _ in range(self.random.randint(3, 8)))

    def header_text(self) -> str:
        return self.random.choice(["a", "x, y", 'with "quotes"', "a;b=c", "~!@#$%^&*()_+|", "0", self.word()])

    def text(self, minimum: int = 0) -> str:
        odd = ["a b", "ä€𝄞", "a+b", "%2F%25", "a/b//c", "x&y=z;", "<t a='\"'>&amp;", "ends ", " a", "\u2028", "a\nb\tc", "null"]
        if not self.is_xml:
            odd += ["\x00\x1f\x7f", "\r\n", "\\u0000"]
        plain = [self.word(), "arn:aws:lambda:us-east-1:000000000000:function:f:$LATEST", "0"]
        chosen = self.random.choice([*odd, *plain] if self.random.random() < 0.5 else plain)
        return chosen if minimum or self.random.random() > 0.1 else ""

    def moment(self, timestamp_format: str | None, *, is_header: bool) -> datetime:
        seconds = self.random.choice([0, 1, 951782400, self.random.randint(0, 4102444800)])
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        if timestamp_format == "rfc822" or is_header:
            return moment
        return moment + timedelta(milliseconds=self.random.choice([0, 0, 1, 999, 500]))


def to_request(protocol: str, operation: botocore.model.OperationModel, params: Mapping[str, Any]) -> Request:
    """Send parameters through botocore's serialiser and read what would go over the wire."""
    serializer = botocore.serialize.create_serializer(protocol, include_validation=False)
    serialized = serializer.serialize_to_request(params, operation)
    prepare_request_dict(serialized, "http://127.0.0.1:4566", context={})
    prepared = create_request_object(serialized).prepare()
    url = urlsplit(prepared.url)
    body = prepared.body or b""
    headers = {
        str(key).lower(): value.decode("latin-1") if isinstance(value, bytes) else str(value) for key, value in prepared.headers.items()
    }
    return Request(prepared.method, url.path, url.query, headers, body.encode() if isinstance(body, str) else bytes(body))


class RawStream(io.BytesIO):
    """A streaming body, as botocore's event streams read it."""

    def stream(self) -> Iterator[bytes]:
        data = self.read()
        yield from (data[at : at + 7] for at in range(0, len(data), 7))


def from_response(
    protocol: str, operation: botocore.model.OperationModel, response: Response, shape: Any, *, is_head: bool = False
) -> dict[str, Any]:
    """Read a response as botocore's client would; streams are read to their end."""
    body = response.body
    assert isinstance(body, bytes)
    headers = HTTPHeaders()
    for name, value in response.headers:
        headers[name] = value
    if "content-length" not in headers and not is_head:
        headers["Content-Length"] = str(len(body))
    streams = operation.has_event_stream_output or operation.has_streaming_output
    document = {
        "status_code": response.status,
        "headers": headers,
        "body": RawStream(body) if streams and response.status < 300 else body,
        "context": {"operation_name": operation.name},
    }
    parsed: dict[str, Any] = botocore.parsers.create_parser(protocol).parse(document, shape)
    return {name: _read(value) for name, value in parsed.items()}


def _read(value: Any) -> Any:
    return value.read() if isinstance(value, io.BytesIO) else value

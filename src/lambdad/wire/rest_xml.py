"""REST-XML: s3, cloudfront. What S3 does unlike the others is in the tables and in `_S3`-named functions here."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from typing import Any
from xml.etree.ElementTree import Element

from lambdad.wire import event_output, eventstream, rest_input, rest_output, timestamps, xml_reader, xml_writer
from lambdad.wire.event_output import EventWriter
from lambdad.wire.failures import Failure
from lambdad.wire.http import Response
from lambdad.wire.protocol import Body, Parser, Responder, finish
from lambdad.wire.rest_json import raw_body_writer, utf8
from lambdad.wire.rest_output import Headers
from lambdad.wire.service_model import Operation, Ref, ServiceModel, Shape
from lambdad.wire.xml_writer import Parts, escape

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'

# The roots that S3 writes and that botocore's model has lost.
_S3_ROOTS = {
    "CompleteMultipartUpload": "CompleteMultipartUploadResult",
    "CopyObject": "CopyObjectResult",
    "CreateMultipartUpload": "InitiateMultipartUploadResult",
    "CreateSession": "CreateSessionResult",
    "DeleteObjects": "DeleteResult",
    "GetBucketAccelerateConfiguration": "AccelerateConfiguration",
    "GetBucketAcl": "AccessControlPolicy",
    "GetBucketCors": "CORSConfiguration",
    "GetBucketLifecycle": "LifecycleConfiguration",
    "GetBucketLifecycleConfiguration": "LifecycleConfiguration",
    "GetBucketLogging": "BucketLoggingStatus",
    "GetBucketNotification": "NotificationConfiguration",
    "GetBucketNotificationConfiguration": "NotificationConfiguration",
    "GetBucketRequestPayment": "RequestPaymentConfiguration",
    "GetBucketTagging": "Tagging",
    "GetBucketVersioning": "VersioningConfiguration",
    "GetBucketWebsite": "WebsiteConfiguration",
    "GetObjectAcl": "AccessControlPolicy",
    "GetObjectAttributes": "GetObjectAttributesResponse",
    "GetObjectTagging": "Tagging",
    "ListBucketAnalyticsConfigurations": "ListBucketAnalyticsConfigurationResult",
    "ListBucketInventoryConfigurations": "ListInventoryConfigurationsResult",
    "ListBucketMetricsConfigurations": "ListMetricsConfigurationsResult",
    "ListBuckets": "ListAllMyBucketsResult",
    "ListDirectoryBuckets": "ListAllMyDirectoryBucketsResult",
    "ListMultipartUploads": "ListMultipartUploadsResult",
    "ListObjectVersions": "ListVersionsResult",
    "ListObjects": "ListBucketResult",
    "ListObjectsV2": "ListBucketResult",
    "ListParts": "ListPartsResult",
    "UploadPartCopy": "CopyPartResult",
}

_S3_PARTIAL = 206  # of an answer that says which range of an object it is; the model has no member for the status

BodyWriter = Callable[[Mapping[str, Any]], tuple[Body, str | None]]


class RestXml:
    """The REST-XML protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._is_s3 = model.service == "s3"
        self._namespace = model.xml_namespace
        self._media_type = "application/xml" if self._is_s3 else "text/xml"
        self._readers = xml_reader.XmlReaders()
        self._writers = xml_writer.XmlWriters(timestamps.to_iso8601_ms if self._is_s3 else timestamps.to_iso8601)
        self._failures: dict[str, tuple[rest_output.Writer, xml_writer.ValueWriter]] = {}

    def parser(self, operation: Operation) -> Parser:
        read_body = self._body_reader(operation.input.shape) if operation.input is not None else None
        return rest_input.compile_parser(operation, read_body)

    def _body_reader(self, shape: Shape) -> Callable[[bytes], dict[str, Any]] | None:
        if shape.payload is None:
            refs = [ref for ref in shape.members.values() if ref.location is None]
            if not refs:
                return None
            read_members = self._readers.members(refs)
            return lambda body: read_members(xml_reader.parse(body)) if body else {}
        payload = shape.members[shape.payload]
        name, is_required = payload.name, payload.name in shape.required
        match payload.shape.type:
            case "blob":
                return lambda body: {name: body} if body or is_required else {}
            case "string":
                return lambda body: {name: utf8(body)} if body or is_required else {}
        read: Callable[[Element], Any] = self._readers.of(payload)
        return lambda body: {name: read(xml_reader.parse(body))} if body else {}

    def responder(self, operation: Operation) -> Responder:
        shape = operation.output.shape if operation.output is not None else None
        members = list(shape.members.values()) if shape is not None else []
        write_headers = rest_output.compile_writer(members)
        write_body = self._body_writer(operation, shape)
        default_status, is_head = operation.status, operation.method == "HEAD"

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            body, content_type = write_body(output)
            headers = self._identity(request_id)
            status = write_headers(output, headers) or default_status
            if self._is_s3 and output.get("ContentRange") is not None:
                status = _S3_PARTIAL
            if content_type is not None and not any(name.lower() == "content-type" for name, _ in headers):
                headers.append(("Content-Type", content_type))
            return finish(status, headers, body, is_head=is_head)

        return respond

    def _body_writer(self, operation: Operation, shape: Shape | None) -> BodyWriter:
        if shape is None:
            return lambda output: (b"", None)
        if self._is_s3 and operation.name == "GetBucketLocation":
            return self._s3_location
        if shape.payload is None:
            refs = [ref for ref in shape.members.values() if ref.location is None]
            if not refs:
                return lambda output: (b"", None)
            root = _S3_ROOTS.get(operation.name, shape.name) if self._is_s3 else shape.name
            return self._document_writer(root, self._writers.members(refs))
        payload = shape.members[shape.payload]
        name = payload.name
        if payload.shape.traits.get("eventstream"):
            writer = EventWriter(payload, self._compile_document, "text/xml")
            return lambda output: (writer.stream(output[name]), eventstream.MEDIA_TYPE)
        if payload.shape.type in ("blob", "string"):
            default = "application/json" if payload.shape.type == "string" else "application/octet-stream"
            return raw_body_writer(name, default)
        root = payload.trait("locationName") or payload.shape.name
        if self._is_s3:
            root = _S3_ROOTS.get(operation.name, root)
        write = self._document_writer(root, self._writers.of(payload.shape))
        return lambda output: write(output[name]) if output.get(name) is not None else (b"", None)

    def _document_writer(self, root: str, write: xml_writer.ValueWriter) -> BodyWriter:
        opening, closing = self._root(root), f"</{root}>"

        def write_document(value: Mapping[str, Any]) -> tuple[Body, str | None]:
            parts: Parts = [DECLARATION, opening]
            write(value, parts)
            parts.append(closing)
            return "".join(parts).encode(), self._media_type

        return write_document

    def _root(self, name: str) -> str:
        return f'<{name} xmlns="{self._namespace}">' if self._namespace else f"<{name}>"

    def _s3_location(self, output: Mapping[str, Any]) -> tuple[Body, str | None]:
        """Write a bucket's region, alone in the root; us-east-1 is nothing at all."""
        location = escape(output.get("LocationConstraint") or "")
        return f"{DECLARATION}{self._root('LocationConstraint')}{location}</LocationConstraint>".encode(), self._media_type

    def _compile_document(self, structure: Ref, members: list[Ref]) -> event_output.DocumentWriter:
        write = self._writers.members(members)
        root = structure.shape.name

        def write_document(value: Any) -> bytes:
            if not members:
                return b""
            parts: Parts = [f"<{root}>"]
            write(value, parts)
            return "".join([*parts, f"</{root}>"]).encode()

        return write_document

    def _identity(self, request_id: str) -> Headers:
        if self._is_s3:
            return [("x-amz-request-id", request_id), ("x-amz-id-2", host_id(request_id))]
        return [("x-amzn-RequestId", request_id)]

    def refuse(self, failure: Failure, request_id: str) -> Response:
        headers = [*self._identity(request_id), ("Content-Type", self._media_type)]
        parts: Parts = [DECLARATION]
        if self._is_s3:
            parts.append("<Error>")
            self._write_failure(failure, headers, parts)
            parts.append(f"<RequestId>{escape(request_id)}</RequestId><HostId>{host_id(request_id)}</HostId></Error>")
        else:
            fault = "Sender" if failure.is_senders else "Receiver"
            parts.append(f"{self._root('ErrorResponse')}<Error><Type>{fault}</Type>")
            self._write_failure(failure, headers, parts)
            parts.append(f"</Error><RequestId>{escape(request_id)}</RequestId></ErrorResponse>")
        return finish(failure.status, headers, "".join(parts).encode(), is_head=False)

    def _write_failure(self, failure: Failure, headers: Headers, parts: Parts) -> None:
        parts.append(f"<Code>{escape(failure.code)}</Code>")
        if failure.message is not None:
            parts.append(f"<Message>{escape(failure.message)}</Message>")
        members = {name: value for name, value in failure.members.items() if name.lower() != "message"}
        if failure.shape is not None:
            write_headers, write_members = self._failure_writer(failure.shape)
            write_headers(members, headers)
            write_members(members, parts)
            if self._is_s3:
                known = failure.shape.members
                write_plain_members({name: value for name, value in members.items() if name not in known}, parts)
            return
        write_plain_members(members, parts)

    def _failure_writer(self, shape: Shape) -> tuple[rest_output.Writer, xml_writer.ValueWriter]:
        known = self._failures.get(shape.name)
        if known is None:
            write = self._writers.members(ref for ref in shape.members.values() if ref.location is None)
            known = self._failures[shape.name] = (rest_output.compile_writer(shape.members.values()), write)
        return known


def write_plain_members(members: Mapping[str, Any], parts: Parts) -> None:
    """Write the members of an error that no model describes."""
    for name, value in members.items():
        if value is not None and name.isalnum():
            parts.append(f"<{name}>{escape(str(value))}</{name}>")


def host_id(request_id: str) -> str:
    """Return S3's second identifier of a request, always the same for the same first one."""
    return base64.b64encode(hashlib.sha384(request_id.encode()).digest()).decode("ascii")

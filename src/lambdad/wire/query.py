"""Query: a form in, XML out (sns, iam, sts, cloudformation, cloudwatch, and sqs as it was); also EC2's variety of it."""

from collections.abc import Mapping
from typing import Any

from lambdad.wire import form_reader, xml_writer
from lambdad.wire.failures import Failure
from lambdad.wire.http import Request, Response
from lambdad.wire.protocol import Parser, Responder
from lambdad.wire.rest_output import Headers
from lambdad.wire.rest_xml import write_plain_members
from lambdad.wire.routing import Match
from lambdad.wire.service_model import Operation, ServiceModel
from lambdad.wire.xml_writer import Parts, escape

MEDIA_TYPE = "text/xml"

# Services whose model is no longer Query's have no namespace in it.
_NAMESPACES = {"sqs": "http://queue.amazonaws.com/doc/2012-11-05/"}

# What SQS's shapes were called in its Query days; its JSON model has forgotten it.
_NAME_AND_VALUE = {"key": {"locationName": "Name"}, "value": {"locationName": "Value"}}
_KEY_AND_VALUE = {"key": {"locationName": "Key"}, "value": {"locationName": "Value"}}
SQS_TRAITS: Mapping[str, Mapping[str, Any]] = {
    "MessageBodyAttributeMap": {"locationName": "MessageAttribute", **_NAME_AND_VALUE},
    "MessageBodySystemAttributeMap": {"locationName": "MessageSystemAttribute", **_NAME_AND_VALUE},
    "MessageSystemAttributeMap": {"locationName": "Attribute", **_NAME_AND_VALUE},
    "QueueAttributeMap": {"locationName": "Attribute", **_NAME_AND_VALUE},
    "TagMap": {"locationName": "Tag", **_KEY_AND_VALUE},
    **{
        shape: {"member": {"locationName": name}}
        for shape, name in {
            "AWSAccountIdList": "AWSAccountId",
            "ActionNameList": "ActionName",
            "AttributeNameList": "AttributeName",
            "BatchResultErrorEntryList": "BatchResultErrorEntry",
            "BinaryList": "BinaryListValue",
            "ChangeMessageVisibilityBatchRequestEntryList": "ChangeMessageVisibilityBatchRequestEntry",
            "ChangeMessageVisibilityBatchResultEntryList": "ChangeMessageVisibilityBatchResultEntry",
            "DeleteMessageBatchRequestEntryList": "DeleteMessageBatchRequestEntry",
            "DeleteMessageBatchResultEntryList": "DeleteMessageBatchResultEntry",
            "ListMessageMoveTasksResultEntryList": "ListMessageMoveTasksResultEntry",
            "MessageAttributeNameList": "MessageAttributeName",
            "MessageList": "Message",
            "MessageSystemAttributeList": "MessageSystemAttributeName",
            "QueueUrlList": "QueueUrl",
            "SendMessageBatchRequestEntryList": "SendMessageBatchRequestEntry",
            "SendMessageBatchResultEntryList": "SendMessageBatchResultEntry",
            "StringList": "StringListValue",
            "TagKeyList": "TagKey",
        }.items()
    },
}

# What errors say in this protocol, where that is not what they say in the other.
_MESSAGES = {("sqs", "The specified queue does not exist."): "The specified queue does not exist for this wsdl version."}


def action_of(request: Request) -> str:
    """Return the ``Action`` of a form, or of the query string; empty if there is none."""
    for text in (_form_text(request), request.query):
        for part in text.split("&"):
            if part.startswith("Action="):
                return part[7:]
    return ""


def _form_text(request: Request) -> str:
    return request.body.decode("utf-8", "replace") if request.body else ""


class Query:
    """The Query protocol for one service."""

    def __init__(self, model: ServiceModel) -> None:
        self._model = model.with_traits(SQS_TRAITS) if model.service == "sqs" else model
        self._is_ec2 = model.metadata["protocol"] == "ec2"
        self._namespace = model.xml_namespace or _NAMESPACES.get(model.service, "")
        self._readers = form_reader.FormReaders(is_ec2=self._is_ec2)
        self._writers = xml_writer.XmlWriters()

    def parser(self, operation: Operation) -> Parser:
        own = self._model.operations[operation.name].input
        if own is None:
            return lambda request, match: {}
        read = self._readers.of(own)
        is_sent_to_queue = self._model.service == "sqs" and "QueueUrl" in own.shape.members

        def parse(request: Request, match: Match) -> dict[str, Any]:
            tree: form_reader.Tree = {}
            if request.query:
                form_reader.parse_form(request.query, tree)
            if request.body:
                form_reader.parse_form(_form_text(request), tree)
            found: dict[str, Any] = read(tree)
            if is_sent_to_queue and "QueueUrl" not in found and request.path.strip("/"):
                found["QueueUrl"] = f"http://{request.headers.get('host', '')}{request.path}"
            return found

        return parse

    def responder(self, operation: Operation) -> Responder:
        write = self._result_writer(operation)
        root = f"{operation.name}Response"
        opening = f'<{root} xmlns="{self._namespace}">'

        def respond(output: Mapping[str, Any], request_id: str) -> Response:
            parts: Parts = [opening]
            write(output, parts)
            parts.append(self._metadata(request_id))
            parts.append(f"</{root}>")
            return Response(200, _headers(request_id), "".join(parts).encode())

        return respond

    def _metadata(self, request_id: str) -> str:
        if self._is_ec2:
            return f"<requestId>{escape(request_id)}</requestId>"
        return f"<ResponseMetadata><RequestId>{escape(request_id)}</RequestId></ResponseMetadata>"

    def _result_writer(self, operation: Operation) -> xml_writer.ValueWriter:
        own = self._model.operations[operation.name].output
        if own is None:
            return lambda output, parts: None
        write = self._writers.of(own.shape)
        if self._is_ec2:
            return write
        wrapper = own.raw.get("resultWrapper") or f"{operation.name}Result"

        def write_result(output: Mapping[str, Any], parts: Parts) -> None:
            parts.append(f"<{wrapper}>")
            write(output, parts)
            parts.append(f"</{wrapper}>")

        return write_result

    def refuse(self, failure: Failure, request_id: str) -> Response:
        parts: Parts = []
        identifier = escape(request_id)
        if self._is_ec2:
            parts.append("<Response><Errors><Error>")
            self._write_failure(failure, parts)
            parts.append(f"</Error></Errors><RequestID>{identifier}</RequestID></Response>")
        else:
            fault = "Sender" if failure.is_senders else "Receiver"
            parts.append(f'<ErrorResponse xmlns="{self._namespace}"><Error><Type>{fault}</Type>')
            self._write_failure(failure, parts)
            parts.append(f"</Error><RequestId>{identifier}</RequestId></ErrorResponse>")
        return Response(failure.status, _headers(request_id), "".join(parts).encode())

    def _write_failure(self, failure: Failure, parts: Parts) -> None:
        parts.append(f"<Code>{escape(failure.code)}</Code>")
        message = _MESSAGES.get((self._model.service, failure.message or ""), failure.message)
        if message is not None:
            parts.append(f"<Message>{escape(message)}</Message>")
        members = {name: value for name, value in failure.members.items() if name.lower() != "message"}
        if failure.shape is None:
            write_plain_members(members, parts)
        else:
            self._writers.of(failure.shape)(members, parts)


def _headers(request_id: str) -> Headers:
    return [("x-amzn-RequestId", request_id), ("Content-Type", MEDIA_TYPE)]

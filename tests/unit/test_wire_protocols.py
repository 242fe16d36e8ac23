"""What requests and responses look like to the letter, protocol by protocol."""

import base64
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from lambdad.model.errors import AwsError, NotImplementedHere, ValidationError
from lambdad.wire.codec import Call, load
from lambdad.wire.http import Request, Response

ID = "5f0c1a4e-0d5b-4c4f-9a53-2b6d7c1e8f90"
NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, UTC)


def call(service: str, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> Call:
    path, _, query = target.partition("?")
    return load(service).match(Request(method, path, query, headers or {}, body))


def rpc(service: str, operation: str, document: Any) -> Call:
    codec = load(service)
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return codec.match(Request("POST", "/", "", {"x-amz-target": f"{codec.target_prefix}.{operation}"}, body))


def form(service: str, body: str) -> Call:
    return load(service).match(Request("POST", "/", "", {}, body.encode()))


def text(response: Response) -> str:
    assert isinstance(response.body, bytes)
    return response.body.decode()


def refused(made: Call) -> AwsError:
    with pytest.raises(AwsError) as caught:
        made.parse()
    return caught.value


INVOKE = "/2015-03-31/functions/f/invocations"


def test_invoke_passes_its_payload_through() -> None:
    """The payload is the very object that arrived, and the very object that was returned."""
    payload = b'{"not parsed'
    made = call("lambda", "POST", INVOKE + "?Qualifier=a", payload, {"x-amz-log-type": "Tail"})
    params = made.parse()
    assert params == {"FunctionName": "f", "Payload": payload, "Qualifier": "a", "LogType": "Tail"}
    assert params["Payload"] is payload
    answer = b"null"
    response = made.respond({"StatusCode": 200, "Payload": answer, "FunctionError": "Unhandled"}, ID)
    assert response.body is answer
    assert response.status == 200
    assert dict(response.headers) == {
        "Content-Type": "application/json",
        "x-amzn-RequestId": ID,
        "X-Amz-Function-Error": "Unhandled",
    }


@pytest.mark.parametrize("status", [202, 204])
def test_a_member_may_be_the_status(status: int) -> None:
    """Invoke says 202 for events and 204 for dry runs, and the latter has no body."""
    response = call("lambda", "POST", INVOKE).respond({"StatusCode": status, "Payload": b""}, ID)
    assert (response.status, response.body) == (status, b"")


def test_an_empty_body_is_no_payload() -> None:
    """Nothing and an empty structure are the same to REST-JSON."""
    assert call("lambda", "POST", INVOKE).parse() == {"FunctionName": "f"}
    assert call("lambda", "POST", "/2015-03-31/functions/f/versions").parse() == {"FunctionName": "f"}


async def test_a_streaming_body_is_passed_on() -> None:
    """An iterator is not read, and the length that the service knows stays among the headers."""

    async def chunks() -> AsyncIterator[bytes]:
        yield b"abc"

    body = chunks()
    made = call("s3", "GET", "/b/k")
    response = made.respond({"Body": body, "ContentLength": 3, "ContentType": "text/plain"}, ID)
    assert response.body is body
    assert ("Content-Length", "3") in response.headers
    assert ("Content-Type", "text/plain") in response.headers
    counted = made.respond({"Body": b"abc", "ContentLength": 3}, ID)
    assert "Content-Length" not in dict(counted.headers)
    await body.aclose()


def test_head_responses_have_headers_only() -> None:
    """HEAD says how long the body would be and sends none, for errors too."""
    made = call("s3", "HEAD", "/b/k")
    response = made.respond({"ContentLength": 7, "LastModified": NOW, "Metadata": {"a": "b"}}, ID)
    assert response.body == b""
    assert ("Content-Length", "7") in response.headers
    assert ("Last-Modified", "Fri, 02 Jan 2026 03:04:05 GMT") in response.headers
    assert ("x-amz-meta-a", "b") in response.headers
    failed = made.respond_error(AwsError("NoSuchKey", "gone"), ID)
    assert (failed.status, failed.body) == (404, b"")


def test_none_is_left_out_and_empty_is_not() -> None:
    """Members that are None are absent; empty lists and maps are written; unknown members are not."""
    made = call("lambda", "GET", "/2015-03-31/functions/f/configuration")
    output = {"Layers": [], "Environment": {"Variables": {}}, "KMSKeyArn": None, "NoSuchMember": 1}
    assert json.loads(text(made.respond(output, ID))) == {"Layers": [], "Environment": {"Variables": {}}}


@pytest.mark.parametrize(
    ("error", "status", "document"),
    [
        (
            AwsError("ResourceNotFoundException", "gone", members={"Type": "User"}),
            404,
            {"Type": "User", "Message": "gone"},
        ),
        (
            AwsError("ResourceConflictException", "twice", members={"Type": "User"}),
            409,
            {"Type": "User", "message": "twice"},
        ),
        (AwsError("AccessDeniedException", None, status=403), 403, {"Message": None}),
        (ValidationError(["a"]), 400, {"message": "1 validation error detected: a"}),
        (AwsError("RequestEntityTooLargeException", "big", status=413), 413, {"message": "big"}),
        (
            NotImplementedHere("lambda", "CreateCapacityProvider"),
            501,
            {"message": "lambda:CreateCapacityProvider is not implemented by lambdad."},
        ),
        (AwsError("InvalidParameterValueException", "x", members={"NotInModel": 1}), 400, {"message": "x"}),
    ],
)
def test_rest_json_errors(error: AwsError, status: int, document: dict[str, Any]) -> None:
    """The model gives the status and spells the message; what it does not know is written as it comes."""
    response = call("lambda", "POST", INVOKE).respond_error(error, ID)
    assert response.status == status
    assert dict(response.headers)["x-amzn-ErrorType"] == error.code
    assert dict(response.headers)["x-amzn-RequestId"] == ID
    assert json.loads(text(response)) == document


def test_error_members_may_be_headers() -> None:
    """TooManyRequestsException sets Retry-After."""
    members = {"Type": "User", "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "retryAfterSeconds": "1"}
    response = call("lambda", "POST", INVOKE).respond_error(AwsError("TooManyRequestsException", "Rate Exceeded.", members=members), ID)
    assert response.status == 429
    assert ("Retry-After", "1") in response.headers
    assert json.loads(text(response)) == {"Type": "User", "Reason": members["Reason"], "message": "Rate Exceeded."}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"Timeout": "3"}, "STRING_VALUE can not be converted to an Integer"),
        ({"Timeout": 3.5}, "NUMBER_VALUE can not be converted to an Integer"),
        ({"Timeout": 1 << 40}, "NUMBER_VALUE can not be converted to an Integer"),
        ({"Timeout": True}, "TRUE_VALUE can not be converted to an Integer"),
        ({"Description": 1}, "NUMBER_VALUE can not be converted to a String"),
        ({"Description": {}}, "Start of structure or map found where not expected."),
        ({"Publish": "true"}, "STRING_VALUE can not be converted to a Boolean"),
        ({"Layers": {}}, "Start of structure or map found where not expected."),
        ({"Layers": "x"}, "Unexpected field type"),
        ({"Code": []}, "Start of list found where not expected"),
        ({"Code": 1}, "Unexpected field type"),
        ({"Code": {"ZipFile": "!"}}, "STRING_VALUE can not be converted to a Blob"),
        ({"Tags": "x"}, "Unexpected field type"),
        ([], "Start of list found where not expected"),
    ],
)
def test_wrong_json_types_are_refused(document: Any, message: str) -> None:
    """A value of the wrong type is a SerializationException."""
    error = refused(call("lambda", "POST", "/2015-03-31/functions", json.dumps(document).encode()))
    assert (error.code, error.status, error.message) == ("SerializationException", 400, message)


@pytest.mark.parametrize("body", [b"{", b"nonsense", b"\xff", b'{"a":NaN}', b'"\\ud800"', b"[" * 2000])
def test_what_is_no_json_is_refused(body: bytes) -> None:
    """Malformed bodies are a SerializationException without a message."""
    error = refused(call("lambda", "POST", "/2015-03-31/functions", body))
    assert (error.code, error.status) == ("SerializationException", 400)


def test_json_is_read_generously() -> None:
    """Unknown members are ignored, nulls are absent, whole floats are integers, base64 may be broken into lines."""
    document = {
        "FunctionName": "f",
        "Unknown": [1],
        "Role": None,
        "Timeout": 3.0,
        "Code": {"ZipFile": base64.encodebytes(bytes(100)).decode()},
    }
    made = call("lambda", "POST", "/2015-03-31/functions", json.dumps(document).encode())
    assert made.parse() == {"FunctionName": "f", "Timeout": 3, "Code": {"ZipFile": bytes(100)}}


@pytest.mark.parametrize("written", [1767323045.678, 1767323045678 / 1000, "2026-01-02T03:04:05.678Z", "2026-01-02T04:04:05.678+01:00"])
def test_timestamps_are_read_in_any_format(written: Any) -> None:
    """Clients send numbers or texts, whatever the model prefers."""
    made = rpc("dynamodb", "ListBackups", {"TimeRangeLowerBound": written})
    assert made.parse() == {"TimeRangeLowerBound": NOW}


@pytest.mark.parametrize("written", [1e300, -1e300, "tomorrow", "", "NaN", "99999999999999999999", True, {}])
def test_impossible_timestamps_are_refused(written: Any) -> None:
    """A time outside the calendar is a SerializationException."""
    assert refused(rpc("dynamodb", "ListBackups", {"TimeRangeLowerBound": written})).code == "SerializationException"


def test_timestamps_in_queries() -> None:
    """A query's timestamp is ISO 8601, or whatever."""
    for written in ("2026-01-02T03%3A04%3A05.678Z", "1767323045.678"):
        target = f"/2025-12-01/functions/f/durable-executions?StartedAfter={written}"
        assert call("lambda", "GET", target).parse()["StartedAfter"] == NOW


def test_json_rpc_errors() -> None:
    """The error's name is in the body, without a namespace."""
    made = rpc("logs", "PutLogEvents", {})
    response = made.respond_error(AwsError("ResourceNotFoundException", "The specified log group does not exist."), ID)
    assert response.status == 400
    assert dict(response.headers) == {"x-amzn-RequestId": ID, "Content-Type": "application/x-amz-json-1.1"}
    assert json.loads(text(response)) == {
        "__type": "ResourceNotFoundException",
        "message": "The specified log group does not exist.",
    }
    failed = made.respond_error(AwsError("ServiceUnavailableException", "later"), ID)
    assert failed.status == 500


def test_sqs_tells_its_old_error_codes() -> None:
    """Clients that once spoke Query find the code of then in a header; Query clients find it in the body."""
    error = AwsError("QueueDoesNotExist", "The specified queue does not exist.")
    response = rpc("sqs", "GetQueueUrl", {}).respond_error(error, ID)
    assert ("x-amzn-query-error", "AWS.SimpleQueueService.NonExistentQueue;Sender") in response.headers
    assert json.loads(text(response))["__type"] == "QueueDoesNotExist"
    old = form("sqs", "Action=GetQueueUrl&QueueName=q").respond_error(error, ID)
    assert text(old) == (
        '<ErrorResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><Error><Type>Sender</Type>'
        "<Code>AWS.SimpleQueueService.NonExistentQueue</Code>"
        "<Message>The specified queue does not exist for this wsdl version.</Message></Error>"
        f"<RequestId>{ID}</RequestId></ErrorResponse>"
    )


@pytest.mark.parametrize(
    ("code", "name"),
    [("InvalidParameterValue", "InvalidParameterValueException"), ("MissingParameter", "MissingRequiredParameterException")],
)
def test_sqs_names_errors_that_no_model_has(code: str, name: str) -> None:
    """Errors that only the old protocol had a name for have one in JSON too."""
    response = rpc("sqs", "GetQueueUrl", {}).respond_error(AwsError(code, "m"), ID)
    assert ("x-amzn-query-error", f"{code};Sender") in response.headers
    assert json.loads(text(response)) == {"__type": name, "message": "m"}
    assert f"<Code>{code}</Code>" in text(form("sqs", "Action=GetQueueUrl").respond_error(AwsError(code, "m"), ID))


def test_sqs_checks_its_input_itself() -> None:
    """What is missing or out of range is left to the service, whose texts are its own; nulls in lists are not."""
    made = rpc("sqs", "SendMessageBatch", {"Entries": [{"Id": "a"}]})
    made.validate(made.parse())
    broken = rpc("sqs", "SendMessageBatch", {"Entries": [None]})
    with pytest.raises(AwsError) as caught:
        broken.validate(broken.parse())
    assert caught.value.code == "InvalidParameterValue"


def test_sqs_in_query_as_it_was() -> None:
    """Batches, attributes and message attributes have their old names, in and out."""
    body = (
        "Action=SendMessageBatch&Version=2012-11-05&QueueUrl=http%3A%2F%2Fq%2F1%2Fa"
        "&SendMessageBatchRequestEntry.1.Id=one&SendMessageBatchRequestEntry.1.MessageBody=a+b"
        "&SendMessageBatchRequestEntry.1.MessageAttribute.1.Name=n"
        "&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.StringValue=v"
        "&SendMessageBatchRequestEntry.1.MessageAttribute.1.Value.DataType=String"
        "&SendMessageBatchRequestEntry.2.Id=two&SendMessageBatchRequestEntry.2.MessageBody=c"
    )
    made = form("sqs", body)
    attribute = {"StringValue": "v", "DataType": "String"}
    assert made.parse() == {
        "QueueUrl": "http://q/1/a",
        "Entries": [
            {"Id": "one", "MessageBody": "a b", "MessageAttributes": {"n": attribute}},
            {"Id": "two", "MessageBody": "c"},
        ],
    }
    made = form("sqs", "Action=CreateQueue&QueueName=q&Attribute.1.Name=DelaySeconds&Attribute.1.Value=5&Tag.1.Key=k&Tag.1.Value=v")
    assert made.parse() == {"QueueName": "q", "Attributes": {"DelaySeconds": "5"}, "tags": {"k": "v"}}
    made = form("sqs", "Action=ReceiveMessage&AttributeName.1=All&MaxNumberOfMessages=10")
    assert made.parse() == {"AttributeNames": ["All"], "MaxNumberOfMessages": 10}
    response = made.respond({"Messages": [{"Body": "a<b", "Attributes": {"SentTimestamp": "1"}}]}, ID)
    assert text(response) == (
        '<ReceiveMessageResponse xmlns="http://queue.amazonaws.com/doc/2012-11-05/"><ReceiveMessageResult><Message>'
        "<Body>a&lt;b</Body><Attribute><Name>SentTimestamp</Name><Value>1</Value></Attribute></Message>"
        f"</ReceiveMessageResult><ResponseMetadata><RequestId>{ID}</RequestId></ResponseMetadata></ReceiveMessageResponse>"
    )


def test_sqs_in_query_may_be_sent_to_the_queue_itself() -> None:
    """The queue is the URL that the request went to, if the form does not name it."""
    request = Request("GET", "/000000000000/q", "Action=SendMessage&MessageBody=a", {"host": "h:4566"}, b"")
    assert load("sqs").match(request).parse() == {"MessageBody": "a", "QueueUrl": "http://h:4566/000000000000/q"}


def test_query_forms_and_answers() -> None:
    """Lists are numbered members, results are wrapped, operations without output have no result."""
    made = form("iam", "Action=TagRole&RoleName=r&Tags.member.2.Key=b&Tags.member.2.Value=2&Tags.member.1.Key=a&Tags.member.1.Value=")
    assert made.parse() == {"RoleName": "r", "Tags": [{"Key": "a", "Value": ""}, {"Key": "b", "Value": "2"}]}
    assert text(made.respond({}, ID)) == (
        '<TagRoleResponse xmlns="https://iam.amazonaws.com/doc/2010-05-08/"><ResponseMetadata>'
        f"<RequestId>{ID}</RequestId></ResponseMetadata></TagRoleResponse>"
    )
    identity = form("sts", "Action=GetCallerIdentity&Version=2011-06-15")
    assert text(identity.respond({"Account": "0" * 12, "UserId": None}, ID)) == (
        '<GetCallerIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetCallerIdentityResult>'
        f"<Account>{'0' * 12}</Account></GetCallerIdentityResult><ResponseMetadata><RequestId>{ID}</RequestId>"
        "</ResponseMetadata></GetCallerIdentityResponse>"
    )


def test_query_error_codes_are_the_models() -> None:
    """The exception's name is not its code; either finds it."""
    for code in ("NoSuchEntityException", "NoSuchEntity"):
        response = form("iam", "Action=GetRole&RoleName=r").respond_error(AwsError(code, "no"), ID)
        assert response.status == 404
        assert "<Type>Sender</Type><Code>NoSuchEntity</Code><Message>no</Message>" in text(response)


@pytest.mark.parametrize(
    "body",
    [
        "Action=TagRole&Tags.member.1=x",
        "Action=ListRoles&MaxItems=many",
        "Action=ListRoles&MaxItems.x=1",
        "Action=TagRole&" + ".".join("a" * 70) + "=1",
    ],
)
def test_forms_that_do_not_fit_are_refused(body: str) -> None:
    """A scalar where a structure belongs is nothing; a structure where a scalar belongs is an error."""
    made = form("iam", body)
    if body.endswith("=x"):
        assert made.parse() == {"Tags": [{}]}
    else:
        assert refused(made).code == "SerializationException"


def test_s3_answers_to_the_letter() -> None:
    """Roots, namespaces, flattened lists and millisecond timestamps are S3's."""
    listing = {"Name": "b", "Contents": [{"Key": "k", "LastModified": datetime(2026, 1, 2, tzinfo=UTC), "Size": 1}]}
    response = call("s3", "GET", "/b?list-type=2").respond({**listing, "IsTruncated": False}, "REQ")
    assert text(response) == (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        "<Name>b</Name><Contents><Key>k</Key><LastModified>2026-01-02T00:00:00.000Z</LastModified><Size>1</Size>"
        "</Contents><IsTruncated>false</IsTruncated></ListBucketResult>"
    )
    headers = dict(response.headers)
    assert headers["x-amz-request-id"] == "REQ"
    assert headers["Content-Type"] == "application/xml"
    assert len(headers["x-amz-id-2"]) == 64


def test_s3_location_is_its_root() -> None:
    """A bucket's region is the text of the root, nothing for us-east-1."""
    made = call("s3", "GET", "/b?location")
    root = '<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    assert text(made.respond({"LocationConstraint": "eu-west-1"}, ID)).endswith(f"\n{root}eu-west-1</LocationConstraint>")
    assert text(made.respond({}, ID)).endswith(f"\n{root}</LocationConstraint>")


def test_s3_grants_have_typed_grantees() -> None:
    """The type of a grantee is an attribute in a namespace of its own, in and out."""
    grantee = {"Type": "CanonicalUser", "ID": "me"}
    acl = {"Grants": [{"Grantee": grantee, "Permission": "READ"}]}
    written = text(call("s3", "GET", "/b?acl").respond(acl, ID))
    assert '<Grantee xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="CanonicalUser"><ID>me</ID></Grantee>' in written
    assert call("s3", "PUT", "/b?acl", written.encode()).parse() == {"Bucket": "b", "AccessControlPolicy": acl}


def test_s3_errors_have_an_envelope_of_their_own() -> None:
    """Code, message, what else is known, and both identifiers."""
    error = AwsError("NoSuchBucket", "The specified bucket does not exist", status=404, members={"BucketName": "b"})
    response = call("s3", "GET", "/b").respond_error(error, "REQ")
    assert response.status == 404
    assert "<Error><Code>NoSuchBucket</Code><Message>The specified bucket does not exist</Message>" in text(response)
    assert "<RequestId>REQ</RequestId><HostId>" in text(response)
    unmodelled = AwsError("InvalidRange", "no", status=416, members={"ActualObjectSize": 3})
    assert "<ActualObjectSize>3</ActualObjectSize>" in text(call("s3", "GET", "/b/k").respond_error(unmodelled, "R"))


def test_s3_deletes_many() -> None:
    """Flattened lists are read without their wrapper, in any namespace."""
    body = b'<Delete xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Object><Key>a</Key></Object><Object><Key>b</Key></Object><Quiet>true</Quiet></Delete>'
    assert call("s3", "POST", "/b?delete", body).parse() == {
        "Bucket": "b",
        "Delete": {"Objects": [{"Key": "a"}, {"Key": "b"}], "Quiet": True},
    }
    response = call("s3", "POST", "/b?delete").respond({"Deleted": [{"Key": "a"}, {"Key": "b"}], "Errors": []}, ID)
    assert "<DeleteResult" in text(response)
    assert text(response).count("<Deleted>") == 2


@pytest.mark.parametrize(
    "body",
    [
        b"<Delete>",
        b"nonsense",
        b"\xff\xfe",
        b'<!DOCTYPE x [<!ENTITY a "b">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete><Quiet>perhaps</Quiet></Delete>",
        b'<?xml version="1.0" encoding="no-such"?><Delete/>',
    ],
)
def test_what_is_no_xml_is_refused(body: bytes) -> None:
    """Malformed documents, and any that define entities, are MalformedXML."""
    error = refused(call("s3", "POST", "/b?delete", body))
    assert (error.code, error.status) == ("MalformedXML", 400)


def test_cloudfront_answers() -> None:
    """The payload is the root, its neighbours are headers, the status is the model's."""
    made = call("cloudfront", "POST", "/2020-05-31/distribution/D/invalidation")
    output = {"Location": "https://l", "Invalidation": {"Id": "I", "Status": "Completed", "CreateTime": NOW}}
    response = made.respond(output, ID)
    assert response.status == 201
    assert ("Location", "https://l") in response.headers
    assert text(response).endswith(
        '<Invalidation xmlns="http://cloudfront.amazonaws.com/doc/2020-05-31/"><Id>I</Id><Status>Completed</Status>'
        "<CreateTime>2026-01-02T03:04:05.678Z</CreateTime></Invalidation>"
    )
    failed = made.respond_error(AwsError("NoSuchDistribution", "no"), ID)
    assert failed.status == 404
    assert '<ErrorResponse xmlns="http://cloudfront' in text(failed)


def test_headers_cannot_be_split() -> None:
    """A line break in a value does not begin a new header, and other characters than ASCII are wrapped."""
    made = call("s3", "HEAD", "/b/k")
    headers = dict(made.respond({"Metadata": {"a": "x\r\nSet-Cookie: y"}, "ContentType": "ä"}, ID).headers)
    assert headers["x-amz-meta-a"] == "x  Set-Cookie: y"
    assert headers["Content-Type"] == "=?UTF-8?B?w6Q=?="


def test_headers_of_requests() -> None:
    """Lists are split outside quotes, prefixed names are collected, UTF-8 is understood."""
    headers = {"x-amz-object-attributes": 'ETag, "Object,Parts" ,StorageClass'}
    made = call("s3", "GET", "/b/k?attributes", b"", headers)
    assert made.parse()["ObjectAttributes"] == ["ETag", "Object,Parts", "StorageClass"]
    put = call("s3", "PUT", "/b/k", b"x", {"x-amz-meta-a": "ä".encode().decode("latin-1"), "x-amz-meta-b-c": "d"})
    assert put.parse()["Metadata"] == {"a": "ä", "b-c": "d"}


def test_whole_queries_may_be_a_member() -> None:
    """API Gateway's parameters are all of the query that has no other meaning."""
    made = call("apigateway", "POST", "/restapis?mode=import&failonwarnings=true&endpointConfigurationTypes=REGIONAL", b"{}")
    assert made.parse() == {
        "failOnWarnings": True,
        "body": b"{}",
        "parameters": {"endpointConfigurationTypes": "REGIONAL"},
    }


def test_cbor_errors() -> None:
    """The error's name is in the body, the Query code in a header."""
    from lambdad.wire import cbor

    codec = load("cloudwatch")
    path = "/service/GraniteServiceVersion20100801/operation/GetMetricData"
    made = codec.match(Request("POST", path, "", {"smithy-protocol": "rpc-v2-cbor"}, b"\xbf\xff"))
    assert made.parse() == {}
    response = made.respond_error(AwsError("LimitExceededFault", "much"), ID)
    assert isinstance(response.body, bytes)
    assert cbor.loads(response.body) == {"__type": "LimitExceededFault", "message": "much"}
    headers = dict(response.headers)
    assert headers["smithy-protocol"] == "rpc-v2-cbor"
    assert headers["x-amzn-query-error"] == "LimitExceeded;Sender"
    assert headers["Content-Type"] == "application/cbor"


def test_json_that_orjson_refuses_is_written_too() -> None:
    """Integers beyond 64 bits and unpaired surrogates do not break an answer."""
    from lambdad.wire import json_shapes

    assert json_shapes.dumps({"a": 1 << 70}) == b'{"a":1180591620717411303424}'
    assert json_shapes.dumps({"a": "\ud800"}) == b'{"a":"\\ud800"}'

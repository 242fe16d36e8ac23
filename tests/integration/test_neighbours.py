"""How services reach each other: in this process, and at endpoints that speak AWS's protocols over HTTP."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from lambdad import settings
from lambdad.app import endpoints
from lambdad.app.neighbours import Neighbourhood
from lambdad.kit import clock
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.server import listener
from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import StaticCredentials
from lambdad.server.frontend import Frontend
from lambdad.server.request_ids import RequestIds
from lambdad.services.ports import CallContext, Origin, Service

ORIGIN = Origin(
    account=AccountId("111122223333"),
    region=Region("eu-west-1"),
    principal="sns.amazonaws.com",
    source_arn="arn:aws:sns:eu-west-1:111122223333:t",
    trace_id="Root=1",
)


class Recorder:
    """Services that keep what they were asked and answer what they were told to."""

    def __init__(self) -> None:
        self.calls: list[tuple[CallContext, dict[str, Any]]] = []
        self.answer: dict[str, Any] | Exception = {}

    async def handle(self, context: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        self.calls.append((context, params))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    def service(self, name: str, *operations: str) -> Service:
        return Service(name=name, handlers=dict.fromkeys(operations, self.handle))


def neighbourhood(*services: Service) -> Neighbourhood:
    made = Neighbourhood({}, RequestIds(), "http://127.0.0.1:4566")
    made.serve(*services)
    return made


@contextlib.asynccontextmanager
async def serving(*services: Service) -> AsyncIterator[str]:
    """Serve over HTTP, as another lambdad would; gives the URL."""
    frontend = Frontend(
        {service.name: service for service in services},
        Authenticator(StaticCredentials([]), Mode.OPEN, clock.now_ms),
        RequestIds(),
        clock.now_ms,
    )
    (sock,) = listener.open_sockets("127.0.0.1", 0)
    async with listener.serving(frontend, [sock], drain_timeout_s=1):
        yield f"http://127.0.0.1:{sock.getsockname()[1]}"


async def test_a_handler_is_called_for_the_origin() -> None:
    """The callee sees account, region, trace and who is behind the call, and gets an id of its own."""
    recorder = Recorder()
    recorder.answer = {"MessageId": "m"}
    neighbours = neighbourhood(recorder.service("sqs", "SendMessage"))
    params = {"QueueUrl": "https://sqs.eu-west-1.amazonaws.com/111122223333/q", "MessageBody": "b"}
    assert await neighbours.call(ORIGIN, "sqs", "SendMessage", params) == {"MessageId": "m"}
    await neighbours.call(ORIGIN, "sqs", "SendMessage", params)
    (context, given), (second, _) = recorder.calls
    assert given == params and given is not params
    assert (context.account, context.region, context.origin, context.trace_id) == ("111122223333", "eu-west-1", ORIGIN, "Root=1")
    assert context.request_id != second.request_id


async def test_input_is_validated_as_a_clients() -> None:
    """What breaks the model never reaches the handler; services that are not AWS's are not validated."""
    recorder = Recorder()
    neighbours = neighbourhood(recorder.service("logs", "CreateLogGroup"), recorder.service("sns-http", "Post"))
    with pytest.raises(AwsError) as caught:
        await neighbours.call(ORIGIN, "logs", "CreateLogGroup", {})
    assert caught.value.status == 400 and "logGroupName" in str(caught.value)
    assert recorder.calls == []
    await neighbours.call(ORIGIN, "sns-http", "Post", {"Anything": b"goes"})
    assert recorder.calls[0][1] == {"Anything": b"goes"}


async def test_errors_have_the_status_that_clients_see() -> None:
    """A handler's error has the model's status; a bug is InternalFailure; what nobody serves is NotImplementedException."""
    recorder = Recorder()
    neighbours = neighbourhood(recorder.service("lambda", "GetFunction"))
    seen = []
    for answer in (AwsError("ResourceNotFoundException", "no"), KeyError("bug")):
        recorder.answer = answer
        with pytest.raises(AwsError) as caught:
            await neighbours.call(ORIGIN, "lambda", "GetFunction", {"FunctionName": "f"})
        seen.append((caught.value.code, caught.value.status))
    for service, operation in (("lambda", "GetPolicy"), ("sqs", "ListQueues"), ("no-such", "X"), ("lambda", "NoSuch")):
        params = {"FunctionName": "f"} if service == "lambda" else {}
        with pytest.raises(AwsError) as caught:
            await neighbours.call(ORIGIN, service, operation, params)
        seen.append((caught.value.code, caught.value.status))
    assert seen == [("ResourceNotFoundException", 404), ("InternalFailure", 500), *[("NotImplementedException", 501)] * 4]


async def test_an_endpoint_is_called_like_a_handler() -> None:
    """Over HTTP, signed: queue URLs are turned towards the endpoint, blobs come back as bytes, the account is the key."""
    recorder = Recorder()
    services = recorder.service("sqs", "SendMessage", "ReceiveMessage"), recorder.service("lambda", "Invoke")
    async with serving(*services) as url, endpoints.connected({"sqs": url, "lambda": url}) as elsewhere:
        neighbours = Neighbourhood(elsewhere, RequestIds(), "")
        recorder.answer = {"MessageId": "m", "MD5OfMessageBody": "x"}
        queue = "https://sqs.eu-west-1.amazonaws.com/111122223333/q"
        answer = await neighbours.call(ORIGIN, "sqs", "SendMessage", {"QueueUrl": queue, "MessageBody": "é"})
        assert answer == recorder.answer
        context, params = recorder.calls[-1]
        assert params == {"QueueUrl": f"{url}/111122223333/q", "MessageBody": "é"}
        assert (context.account, context.region, context.origin) == ("111122223333", "eu-west-1", None)
        recorder.answer = {"StatusCode": 200, "Payload": b"\x00\x01"}
        answer = await neighbours.call(ORIGIN, "lambda", "Invoke", {"FunctionName": "f", "Payload": b"{}"})
        assert answer == {"StatusCode": 200, "Payload": b"\x00\x01"}


async def test_errors_of_an_endpoint_are_awss() -> None:
    """Code, message, status and members come through; a queue that does not exist has the name that the model gives it."""
    recorder = Recorder()
    services = recorder.service("sqs", "SendMessage"), recorder.service("lambda", "Invoke")
    async with serving(*services) as url, endpoints.connected({"sqs": url, "lambda": url}) as elsewhere:
        neighbours = Neighbourhood(elsewhere, RequestIds(), "")
        recorder.answer = AwsError("QueueDoesNotExist", "gone")
        with pytest.raises(AwsError) as caught:
            await neighbours.call(ORIGIN, "sqs", "SendMessage", {"QueueUrl": "u", "MessageBody": "b"})
        assert (caught.value.code, caught.value.message, caught.value.status) == ("QueueDoesNotExist", "gone", 400)
        recorder.answer = AwsError("TooManyRequestsException", "Rate Exceeded.", status=429, members={"Reason": "R"})
        with pytest.raises(AwsError) as caught:
            await neighbours.call(ORIGIN, "lambda", "Invoke", {"FunctionName": "f"})
        assert (caught.value.code, caught.value.status, caught.value.members["Reason"]) == ("TooManyRequestsException", 429, "R")


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    """A refused connection is an error that is tried again."""
    async with endpoints.connected({"sqs": "http://127.0.0.1:9"}) as elsewhere:
        neighbours = Neighbourhood(elsewhere, RequestIds(), "")
        with pytest.raises(AwsError) as caught:
            await neighbours.call(ORIGIN, "sqs", "SendMessage", {"QueueUrl": "u", "MessageBody": "b"})
        assert (caught.value.code, caught.value.status) == ("ServiceUnavailable", 503)


async def test_long_polls_hold_up_nobody() -> None:
    """With more polls under way than there are threads for short calls, a short call is answered."""
    polling, release = asyncio.Semaphore(0), asyncio.Event()

    async def receive(context: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        polling.release()
        await release.wait()
        return {}

    async def send(context: CallContext, params: dict[str, Any]) -> dict[str, Any]:
        return {"MessageId": "m"}

    service = Service(name="sqs", handlers={"ReceiveMessage": receive, "SendMessage": send})
    async with serving(service) as url, endpoints.connected({"sqs": url}) as elsewhere:
        neighbours = Neighbourhood(elsewhere, RequestIds(), "")
        polls = [
            asyncio.ensure_future(neighbours.call(ORIGIN, "sqs", "ReceiveMessage", {"QueueUrl": "u", "WaitTimeSeconds": 20}))
            for _ in range(endpoints.THREADS + 2)
        ]
        for _ in polls:
            await polling.acquire()
        began_s = time.monotonic()
        await neighbours.call(ORIGIN, "sqs", "SendMessage", {"QueueUrl": "u", "MessageBody": "b"})
        assert time.monotonic() - began_s < 5
        release.set()
        await asyncio.gather(*polls)


def test_endpoints_are_settings() -> None:
    """From the environment and from a table; what is no URL is refused; they survive the way into another process."""
    loaded = settings.load({}, {"LAMBDAD_ENDPOINTS": "sqs=http://localhost:9324, sns=https://k:s@example.com"})
    assert loaded.endpoints == {"sqs": "http://localhost:9324", "sns": "https://k:s@example.com"}
    assert settings.Settings.from_json(loaded.to_json()) == loaded
    for wrong in ("sqs", "sqs=ftp://x", "S QS=http://x", "sqs=http://"):
        with pytest.raises(settings.BadSettings):
            settings.load({}, {"LAMBDAD_ENDPOINTS": wrong})

"""Large bodies that are stored while they arrive, proven at their end; and what browsers send."""

import asyncio
import contextlib
import hashlib
import hmac

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdad.kit import clock
from lambdad.model.errors import AwsError
from lambdad.server import incoming, listener
from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import StaticCredentials
from lambdad.server.frontend import Frontend
from lambdad.server.incoming import PIECE_BYTES, Gathered, StreamedBody
from lambdad.server.ports import AccessKey
from lambdad.server.request_ids import RequestIds
from lambdad.services.ports import Service
from lambdad.wire import sigv4
from lambdad.wire.http import Response

KEY = AccessKey(access_key_id="AKIAROOT", secret="root-secret", account="111111111111", principal_arn="arn:aws:iam::111111111111:root")
SIZE_BYTES = 3 * 1024 * 1024 + 17
DATA = bytes(range(256)) * (SIZE_BYTES // 256) + bytes(SIZE_BYTES % 256)


class Fake:
    """An S3 that keeps what it was given, if it is given all of it."""

    def __init__(self):
        self.objects, self.trailers, self.pieces, self.encodings = {}, {}, [], {}

    async def put_object(self, context, params):
        key, body = params["Key"], params["Body"]
        self.encodings[key] = params.get("ContentEncoding")
        if key == "refused":
            raise AwsError("NoSuchBucket", "no", status=404)
        if isinstance(body, bytes):
            self.objects[key] = body
            return {}
        assert body.size_bytes == SIZE_BYTES
        pieces = [piece async for piece in body]
        self.pieces = [len(piece) for piece in pieces]
        self.trailers = dict(body.trailers)
        self.objects[key] = b"".join(pieces)
        return {}

    async def web(self, context, request, body, prove):
        who = prove({"policy": "e30="}) if "prove" in request.path else context
        data = request.body if body is None else b"".join([piece async for piece in body])
        return Response(200, [("x-who", who.account)], b"%s %s %d" % (request.method.encode(), request.path.encode(), len(data)))

    def frontend(self, mode=Mode.IAM):
        services = {"s3": Service(name="s3", handlers={"PutObject": self.put_object}, web=self.web)}
        authenticator = Authenticator(StaticCredentials([KEY]), mode, clock.now_ms)
        return Frontend(services, authenticator, RequestIds(), clock.now_ms)


@contextlib.asynccontextmanager
async def serving(fake, mode=Mode.IAM):
    sockets = listener.open_sockets("127.0.0.1", 0)
    frontend = fake.frontend(mode)
    async with listener.serving(frontend, sockets, wants_stream=frontend.wants_stream, drain_timeout_s=5):
        yield listener.address_of(sockets[0])[1]


async def send(port, head, body):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    for at in range(0, len(body), 100_000):
        writer.write(body[at : at + 100_000])
        await writer.drain()
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return int(answer[9:12] or 0), answer


def signed(port, key, payload, headers=(), length=SIZE_BYTES, method="PUT"):
    """Return a request's head, signed for what stands for its payload; and the signature."""
    known = {"Host": f"127.0.0.1:{port}", "X-Amz-Content-SHA256": payload, **dict(headers)}
    request = AWSRequest(method, f"http://127.0.0.1:{port}/bucket/{key}", headers=known)
    SigV4Auth(Credentials("AKIAROOT", "root-secret"), "s3", "eu-west-1").add_auth(request)
    request.headers["Content-Length"] = str(length)
    lines = "".join(f"{name}: {value}\r\n" for name, value in request.headers.items())
    signature = request.headers["Authorization"].rpartition("Signature=")[2]
    return f"{method} /bucket/{key} HTTP/1.1\r\n{lines}\r\n".encode(), request.headers["X-Amz-Date"], signature


async def test_a_large_body_comes_in_pieces():
    """The handler gets pieces, and the hash that was signed is proven at the end."""
    fake = Fake()
    async with serving(fake) as port:
        head, _, _ = signed(port, "k", hashlib.sha256(DATA).hexdigest())
        assert (await send(port, head, DATA))[0] == 200
        assert fake.objects["k"] == DATA and len(fake.pieces) > 3
        assert max(fake.pieces) < PIECE_BYTES + 512 * 1024
        head, _, _ = signed(port, "other", hashlib.sha256(DATA).hexdigest())
        status, answer = await send(port, head, DATA[:-1] + b"x")
        assert status == 400 and b"<Code>XAmzContentSHA256Mismatch</Code>" in answer and "other" not in fake.objects
        head, _, _ = signed(port, "unsigned", "UNSIGNED-PAYLOAD")
        assert (await send(port, head, DATA))[0] == 200 and fake.objects["unsigned"] == DATA
        head, _, _ = signed(port, "small", hashlib.sha256(b"x").hexdigest(), length=1)
        assert (await send(port, head, b"x"))[0] == 200 and fake.objects["small"] == b"x"


async def test_who_is_refused_reads_the_answer():
    """A refusal comes before the body is stored, and the client gets to read it though it is still sending."""
    fake = Fake()
    async with serving(fake) as port:
        head, _, _ = signed(port, "refused", "UNSIGNED-PAYLOAD")
        status, answer = await send(port, head, DATA)
        assert status == 404 and b"<Code>NoSuchBucket</Code>" in answer
        status, answer = await send(port, head.replace(b"/bucket/refused", b"/bucket/another"), DATA)
        assert status == 403 and b"<Code>SignatureDoesNotMatch</Code>" in answer and fake.objects == {}


async def test_a_client_that_goes_away():
    """A body that ends too early is an error for the handler, and no answer is owed."""
    fake = Fake()
    async with serving(fake) as port:
        head, _, _ = signed(port, "k", "UNSIGNED-PAYLOAD")
        assert await send(port, head, DATA[:-1000]) == (0, b"") and fake.objects == {}


def chunks(day, at, seed, size_bytes=65536, flaw=-1):
    """Frame the data, each chunk signed; the chunk `flaw` wrongly."""
    scope = f"{day}/eu-west-1/s3/aws4_request"
    key = sigv4.derive_key("root-secret", day, "eu-west-1", "s3")
    previous, out = seed, []
    for number, start in enumerate([*range(0, SIZE_BYTES, size_bytes), SIZE_BYTES]):
        chunk = DATA[start : start + size_bytes]
        lines = ["AWS4-HMAC-SHA256-PAYLOAD", at, scope, previous, hashlib.sha256(b"").hexdigest(), hashlib.sha256(chunk).hexdigest()]
        previous = hmac.digest(key, "\n".join(lines).encode(), "sha256").hex()
        shown = "0" * 64 if number == flaw else previous
        out.append(b"%x;chunk-signature=%s\r\n%s\r\n" % (len(chunk), shown.encode(), chunk))
    return b"".join(out)


@pytest.mark.parametrize("flaw", [-1, 0, 20])
async def test_chunks_are_proven_as_they_pass(flaw):
    """A body whose chunks are signed is decoded while it arrives; one wrong signature refuses all of it."""
    fake = Fake()
    payload = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
    more = {"X-Amz-Decoded-Content-Length": str(SIZE_BYTES), "Content-Encoding": "gzip,aws-chunked"}
    async with serving(fake) as port:
        length = len(chunks("20260101", "x", "x"))
        head, at, signature = signed(port, "k", payload, more, length=length)
        status, answer = await send(port, head, chunks(at[:8], at, signature, flaw=flaw))
        if flaw < 0:
            assert status == 200 and fake.objects["k"] == DATA and fake.encodings["k"] == "gzip"
        else:
            assert status == 403 and b"SignatureDoesNotMatch" in answer and fake.objects == {}


async def test_trailers_are_there_at_the_end():
    """What trails an unsigned stream is known once the body has been read."""
    fake = Fake()
    more = {"X-Amz-Decoded-Content-Length": str(SIZE_BYTES), "Content-Encoding": "aws-chunked", "X-Amz-Trailer": "x-amz-checksum-crc32"}
    body = b"%x\r\n%s\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n" % (SIZE_BYTES, DATA)
    async with serving(fake) as port:
        head, _, _ = signed(port, "k", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", more, length=len(body))
        assert (await send(port, head, body))[0] == 200
        assert fake.trailers == {"x-amz-checksum-crc32": "AAAAAA=="} and fake.encodings["k"] is None
        head, _, _ = signed(port, "cut", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", more, length=len(body) - 20)
        status, answer = await send(port, head, body[:-20])
        assert status == 400 and "cut" not in fake.objects, answer


async def test_what_browsers_send():
    """Preflights, forms and visits of websites reach the service without a signature; forms are proven by their fields."""
    fake = Fake()
    form = b"POST /bucket HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: %d\r\n\r\n"
    async with serving(fake, Mode.OPEN) as port:
        for size in (10, SIZE_BYTES):
            status, answer = await send(port, form % size, bytes(size))
            assert status == 200 and answer.endswith(b"POST /bucket %d" % size)
        status, answer = await send(port, form.replace(b"/bucket", b"/bucket/prove") % 1, b"x")
        assert status == 400 and b"must contain a field named 'X-Amz-Signature'" in answer
        preflight = b"OPTIONS /bucket/k HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://x\r\nAccess-Control-Request-Method: GET\r\n\r\n"
        assert (await send(port, preflight, b""))[1].endswith(b"OPTIONS /bucket/k 0")
        visit = b"GET /page HTTP/1.1\r\nHost: bucket.s3-website.localhost:4566\r\n\r\n"
        assert (await send(port, visit, b""))[1].endswith(b"GET /bucket/page 0")


def test_only_large_objects_are_streamed():
    """Small bodies, other operations and other services come whole."""
    from lambdad.kit.http1 import Request

    frontend = Fake().frontend()

    def wants(method, target, length="2000000", **headers):
        given = {
            "authorization": "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
        }
        given |= {"host": "127.0.0.1"} | {name.replace("_", "-"): value for name, value in headers.items()}
        if length is not None:
            given["content-length"] = length
        return frontend.wants_stream(Request(method, target, given, b""))

    assert wants("PUT", "/b/k") and wants("PUT", "/b/k?partNumber=1&uploadId=u") and wants("PUT", "/k", host="b.s3.localhost")
    assert wants("PUT", "/b/k", length=None)
    assert not wants("PUT", "/b/k", length="1000")
    assert not wants("PUT", "/b") and not wants("PUT", "/b/k?tagging") and not wants("PUT", "/b/k", x_amz_copy_source="/b/x")
    assert not wants("POST", "/b?delete") and not wants("GET", "/b/k")
    lambda_ = "AWS4-HMAC-SHA256 Credential=AK/20260101/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=" + "0" * 64
    assert not wants("PUT", "/2015-03-31/functions/f/code", authorization=lambda_)
    assert not wants("POST", "/2015-03-31/functions/f/invocations", authorization=lambda_)


def test_a_streamed_body_says_what_it_is():
    """The port's members are there from the beginning."""
    body = StreamedBody(None, 5, None, None, Gathered())
    assert body.size_bytes == 5 and body.trailers == {}


async def test_many_bodies_gather_no_more_than_they_may(monkeypatch):
    """Where others have gathered much, pieces are handed on as they come, and nothing is counted for ever."""

    async def chunks_of(count):
        for _ in range(count):
            yield bytes(1000)

    gathered = Gathered()
    body = StreamedBody(chunks_of(10), 10_000, None, None, gathered)
    assert [len(piece) async for piece in body] == [10_000] and gathered.size_bytes == 0
    monkeypatch.setattr(incoming, "GATHERED_BYTES", 2500)
    body = StreamedBody(chunks_of(10), 10_000, None, None, gathered)
    assert [len(piece) async for piece in body] == [3000, 3000, 3000, 1000] and gathered.size_bytes == 0
    gathered.size_bytes = 2500
    body = StreamedBody(chunks_of(2), 2000, None, None, gathered)
    assert [len(piece) async for piece in body] == [1000, 1000] and gathered.size_bytes == 2500

"""Posting to HTTP endpoints: against servers of our own, good ones and bad ones."""

import asyncio
import datetime
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tests.integration.sns_house import ACCOUNT

from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region, RequestId
from lambdad.services.ports import CallContext
from lambdad.services.sns.http_endpoints import HttpEndpoints

CONTEXT = CallContext(account=AccountId(ACCOUNT), region=Region("us-east-1"), request_id=RequestId("0"), principal_arn="sns.amazonaws.com")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@asynccontextmanager
async def server(answer: bytes | None, tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Serve one answer to everybody; None never answers. Gives the port and the requests that came."""
    requests: list[bytes] = []
    done = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        requests.append(head + await reader.readexactly(length))
        if answer is None:
            await done.wait()
        else:
            writer.write(answer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with listening:
        yield listening.sockets[0].getsockname()[1], requests
        done.set()


async def post(url: str, *, body: bytes = b"body", http: HttpEndpoints | None = None) -> None:
    await (http or HttpEndpoints()).post(CONTEXT, {"Url": url, "Headers": {"x-amz-sns-message-type": "Notification"}, "Body": body})


async def refused(url: str, http: HttpEndpoints | None = None) -> tuple[str, int]:
    with pytest.raises(AwsError) as caught:
        await post(url, http=http)
    return caught.value.code, caught.value.status


async def test_a_message_is_posted() -> None:
    """Path, query, headers and body arrive; credentials of the URL become a header."""
    async with server(OK) as (port, requests):
        await post(f"http://user:p%40ss@127.0.0.1:{port}/a/b?c=d#e", body="€".encode())
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.split(b"\r\n") == [
        b"POST /a/b?c=d HTTP/1.1",
        b"Host: 127.0.0.1:%d" % port,
        b"User-Agent: Amazon Simple Notification Service Agent",
        b"x-amz-sns-message-type: Notification",
        b"Authorization: Basic dXNlcjpwQHNz",
        b"Content-Length: 3",
        b"Accept-Encoding: identity",
        b"Connection: close",
    ]
    assert body == "€".encode()


@pytest.mark.parametrize(
    ("answer", "code", "status"),
    [
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "Http404", 400),
        (b"HTTP/1.1 409 Conflict\r\n\r\n", "Http409", 400),
        (b"HTTP/1.1 429 Slow\r\n\r\n", "Http429", 429),
        (b"HTTP/1.0 501\r\n\r\n", "Http501", 503),
        (b"HTTP/1.1 301 Moved\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "Http301", 400),
        (b"gibberish\r\n\r\n", "HttpUnreachable", 503),
        (b"HTTP/1.1 2", "HttpUnreachable", 503),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000, "HttpUnreachable", 503),
    ],
    ids=lambda value: str(value)[:20],
)
async def test_what_is_no_success_is_a_failure(answer: bytes, code: str, status: int) -> None:
    """5xx, 429 and garbage may be better later; other answers will not, and redirects are not followed."""
    async with server(answer) as (port, _):
        assert await refused(f"http://127.0.0.1:{port}/") == (code, status)


async def test_an_answer_that_says_go_on_is_not_the_answer() -> None:
    """1xx is skipped, and an endless body is not read to its end."""
    async with server(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n" + b"x" * 1_000_000) as (port, _):
        await post(f"http://127.0.0.1:{port}/")


async def test_nobody_there_and_nobody_answering_are_tried_again() -> None:
    """A closed port, and a server that says nothing, are failures that another try may mend."""
    async with server(None) as (port, _):
        assert await refused(f"http://127.0.0.1:{port}/", HttpEndpoints(timeout_s=0.05)) == ("HttpTimeout", 504)
    assert await refused(f"http://127.0.0.1:{port}/") == ("HttpUnreachable", 503)


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.170.2/v2/credentials",
        "http://[fe80::1]/",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://100.100.100.200/",
        "http://0.0.0.0:4566/",
        "http://224.0.0.1/",
    ],
)
async def test_metadata_of_clouds_is_never_asked(url: str) -> None:
    """However an address is written, where clouds keep credentials nothing is posted."""
    assert await refused(url) == ("HttpForbidden", 400)


async def test_networks_that_are_denied_get_nothing() -> None:
    """What the operator denies is refused, in both families, and the rest is not."""
    async with server(OK) as (port, requests):
        for denied in (["127.0.0.0/8"], ["10.0.0.0/8", "0.0.0.0/0", "::/0"]):
            assert await refused(f"http://127.0.0.1:{port}/", HttpEndpoints(denied=denied)) == ("HttpForbidden", 400)
        assert await refused(f"http://[::1]:{port}/", HttpEndpoints(denied=["::1/128"])) == ("HttpForbidden", 400)
        assert requests == []
        await post(f"http://127.0.0.1:{port}/", http=HttpEndpoints(denied=["10.0.0.0/8"]))


async def test_a_name_is_judged_by_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that leads to a forbidden address, also beside others, is refused before anything connects."""

    async def resolve(*_: object, **__: object) -> list[tuple[int, int, int, str, tuple[str, int]]]:
        return [(2, 1, 6, "", ("127.0.0.1", 1)), (2, 1, 6, "", ("169.254.169.254", 1))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    assert await refused("http://innocent.example/") == ("HttpForbidden", 400)


def certified(name: str, folder: Path) -> ssl.SSLContext:
    """Make a key and a certificate for a host, which is its own authority in the file "ca"; returns what a server needs."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    begin = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(subject).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(begin + datetime.timedelta(days=2))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "pem").write_bytes(pem + certificate)
    (folder / "ca").write_bytes(certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "pem")
    return context


async def test_certificates_are_verified(tmp_path: Path) -> None:
    """Over TLS only a trusted certificate of this very host is good enough."""
    context = certified("localhost", tmp_path)
    trusting = HttpEndpoints(trusted=str(tmp_path / "ca"))
    async with server(OK, context) as (port, requests):
        assert await refused(f"https://localhost:{port}/") == ("HttpUnreachable", 503)
        assert await refused(f"https://127.0.0.1:{port}/", trusting) == ("HttpUnreachable", 503)
        assert requests == []
        await post(f"https://localhost:{port}/", http=trusting)
        assert len(requests) == 1

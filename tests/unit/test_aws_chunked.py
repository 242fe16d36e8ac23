"""aws-chunked bodies, signed by a signer of our own that shares nothing with the decoder."""

import hashlib
import hmac
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.model.errors import AwsError
from lambdad.wire import aws_chunked
from lambdad.wire.sigv4 import Verified

KEY = bytes(range(32))
SEED = "5" * 64
AT, SCOPE = "20260102T030405Z", "20260102/us-east-1/s3/aws4_request"
PROOF = Verified("/b/k", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", AT, SCOPE, SEED, KEY)
CHECKSUM = ("x-amz-checksum-crc32", "sOO8/Q==")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def sign(*lines):
    return hmac.new(KEY, "\n".join(lines).encode(), "sha256").hexdigest()


def encode(chunks, trailers=(), *, signed=True, trailer_gap=b""):
    """Return the wire form of `chunks`, each in a chunk of its own, as an SDK sends them."""
    previous, out = SEED, b""
    for chunk in [*chunks, b""]:
        head = b"%x" % len(chunk)
        if signed:
            previous = sign("AWS4-HMAC-SHA256-PAYLOAD", AT, SCOPE, previous, sha256(b""), sha256(chunk))
            head += b";chunk-signature=" + previous.encode()
        out += head + b"\r\n" + (chunk + b"\r\n" if chunk else b"")
    for name, value in trailers:
        out += f"{name}:{value}\r\n".encode()
    if trailers and signed:
        text = "".join(f"{name}:{value}\n" for name, value in trailers)
        out += trailer_gap
        signature = sign("AWS4-HMAC-SHA256-TRAILER", AT, SCOPE, previous, sha256(text.encode()))
        out += f"x-amz-trailer-signature:{signature}\r\n".encode()
    return out + b"\r\n"


def decode(wire, length, names=(), *, signed=True, cuts=()):
    decoder = aws_chunked.Decoder(length, names, signed=signed, proof=PROOF if signed else None)
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    body = b"".join(decoder.feed(wire[start:end]) for start, end in itertools.pairwise(edges))
    return body, dict(decoder.finish())


chunk_lists = st.lists(st.binary(min_size=1, max_size=50), max_size=4)
trailer_lists = st.sampled_from([(), (CHECKSUM,), (CHECKSUM, ("x-amz-checksum-sha256", "abc="))])


@settings(max_examples=50, deadline=None)
@given(chunks=chunk_lists, trailers=trailer_lists, signed=st.booleans(), cuts=st.lists(st.integers(0, 1000), max_size=5))
def test_decodes_however_it_is_cut(chunks, trailers, signed, cuts):
    """What was encoded is decoded, signed or not, with and without trailers, in pieces of any size."""
    wire = encode(chunks, trailers, signed=signed)
    body, got = decode(wire, sum(map(len, chunks)), [name for name, _ in trailers], signed=signed, cuts=cuts)
    assert (body, got) == (b"".join(chunks), dict(trailers))


@settings(max_examples=50, deadline=None)
@given(chunks=chunk_lists, trailers=trailer_lists, at=st.integers(0, 10**6), change=st.integers(1, 255))
def test_a_changed_byte_is_refused_or_harmless(chunks, trailers, at, change):
    """A changed byte of a signed body raises, or changes neither the decoded bytes nor the trailers."""
    wire = bytearray(encode(chunks, trailers))
    wire[at % len(wire)] ^= change
    try:
        body, got = decode(bytes(wire), sum(map(len, chunks)), [name for name, _ in trailers])
    except AwsError:
        return
    assert (body, got) == (b"".join(chunks), dict(trailers))


@settings(max_examples=50, deadline=None)
@given(garbage=st.lists(st.binary(max_size=30) | st.sampled_from([b"5\r\n", b"0\r\n", b"\r\n", b"a:b\r\n"]), max_size=8))
def test_garbage_raises_only_aws_errors(garbage):
    """Garbage is refused in AWS's terms, never by another exception."""
    for signed in (True, False):
        try:
            decode(b"".join(garbage), 10, ["a"], signed=signed, cuts=range(0, 200, 7))
        except AwsError as error:
            assert error.status in (400, 403)


@pytest.mark.parametrize("end", [3, 10, 40])
def test_cut_short(end):
    """A body that ends early is incomplete."""
    with pytest.raises(AwsError, match="IncompleteBody"):
        decode(encode([b"hello"])[:-end], 5)


@pytest.mark.parametrize("length", [4, 6])
def test_length_must_be_the_promised_one(length):
    """Neither more nor less than x-amz-decoded-content-length is taken."""
    with pytest.raises(AwsError, match="IncompleteBody"):
        decode(encode([b"hello"]), length)


def test_chunks_cannot_be_reordered_or_dropped():
    """Each signature covers the one before it."""
    first, second = encode([b"aaaa", b"bbbb"]).split(b"\r\n4;")
    swapped = b"4;" + second[: second.index(b"\r\n0;")] + b"\r\n" + first + second[second.index(b"\r\n0;") :]
    with pytest.raises(AwsError, match="SignatureDoesNotMatch"):
        decode(swapped, 8)


def test_blank_line_before_the_trailer_signature():
    """Some SDKs put a blank line between the trailers and their signature."""
    wire = encode([b"hello"], [CHECKSUM], trailer_gap=b"\r\n")
    assert decode(wire, 5, [CHECKSUM[0]]) == (b"hello", dict([CHECKSUM]))


@pytest.mark.parametrize("trailers", [b"", b"x-other:1\r\n", b"x-amz-checksum-crc32:a\r\nx-amz-checksum-crc32:b\r\n", b"no colon\r\n"])
def test_trailers_must_be_as_announced(trailers):
    """Missing, unknown, repeated and shapeless trailers are refused."""
    with pytest.raises(AwsError, match="MalformedTrailerError"):
        decode(b"0\r\n" + trailers + b"\r\n", 0, [CHECKSUM[0]], signed=False)


def test_bytes_after_the_end_are_refused():
    """Nothing may follow the body but an empty line."""
    wire = encode([b"hello"])
    assert decode(wire + b"\r\n", 5)[0] == b"hello"
    with pytest.raises(AwsError, match="InvalidRequest"):
        decode(wire + b"more\r\n", 5)


def test_lines_are_bounded():
    """An endless line is refused before it is held."""
    decoder = aws_chunked.Decoder(10)
    with pytest.raises(AwsError, match="too long"):
        for _ in range(100):
            decoder.feed(b"0" * 1000)


def test_decoder_for_a_request():
    """The headers say how a body is to be decoded, and must give its length."""
    headers = {"x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "x-amz-trailer": "x-amz-checksum-crc32"}
    assert aws_chunked.is_chunked(headers)
    assert aws_chunked.is_chunked({"content-encoding": "aws-chunked,gzip"})
    assert not aws_chunked.is_chunked({"content-encoding": "gzip", "x-amz-content-sha256": "UNSIGNED-PAYLOAD"})
    with pytest.raises(AwsError, match="MissingContentLength"):
        aws_chunked.decoder_for(headers, None)
    decoder = aws_chunked.decoder_for({**headers, "x-amz-decoded-content-length": "5"}, None)
    assert decoder.feed(encode([b"hello"], [CHECKSUM], signed=False)) == b"hello"
    assert decoder.finish() == dict([CHECKSUM])


def test_unverified_signed_body_is_only_unwrapped():
    """Without a proof the signatures are taken off unread, for credentials that nobody verifies."""
    headers = {"x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "x-amz-decoded-content-length": "5"}
    decoder = aws_chunked.decoder_for(headers, None)
    assert decoder.feed(encode([b"hello"]).replace(b"chunk-signature=", b"chunk-signature=0")) == b"hello"
    decoder.finish()

"""Decode aws-chunked bodies piece by piece, proving each chunk's signature and the trailers'.

The shape, with the parts in brackets present where the payload is signed:

    10000[;chunk-signature=<64 hex>]\\r\\n <65536 bytes> \\r\\n
    0[;chunk-signature=<64 hex>]\\r\\n
    x-amz-checksum-crc32:sOO8/Q==\\r\\n [x-amz-trailer-signature:<64 hex>\\r\\n] \\r\\n

Rules of this file: pure, and it never holds more than one line; chunk data passes through. What `feed` returns is proven only once
the chunk's last byte has been fed, and the body only once `finish` has returned: keep it apart from what others see until then.

Source: S3 API Reference, "Signature Calculations for the Authorization Header: Transferring Payload in Multiple Chunks", and
"... Including Trailing Headers".
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from enum import Enum, auto

from lambdad.model.errors import AwsError
from lambdad.wire import sigv4_claims, sigv4_errors
from lambdad.wire.sigv4 import Verified

LINE_BYTES = 8192
"""The longest chunk head or trailer line; AWS's clients stay below 200."""

TRAILERS = 32

_EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_HEX_DIGITS = frozenset(b"0123456789abcdefABCDEF")
_TRAILER_SIGNATURE = "x-amz-trailer-signature"


class _At(Enum):
    """What the next byte belongs to."""

    HEAD = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()
    END = auto()


def is_chunked(headers: Mapping[str, str]) -> bool:
    """Say whether a body is aws-chunked: its payload claims a stream, or its content encoding says so."""
    if headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return True
    return "aws-chunked" in headers.get("content-encoding", "")


def decoder_for(headers: Mapping[str, str], verified: Verified | None) -> "Decoder":
    """
    Return the decoder for a request's body.

    Args:
        verified: what the request's own signature proved. None leaves chunk signatures unproven, as for a credential that nobody
            verifies.

    Raises:
        AwsError: MissingContentLength, the decoded length is not given or no number.
    """
    length = headers.get("x-amz-decoded-content-length", "")
    if not (length.isascii() and length.isdigit()) or len(length) > 18:
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    names = [name.strip().lower() for name in headers.get("x-amz-trailer", "").split(",") if name.strip()]
    payload = headers.get("x-amz-content-sha256", "")
    signed = payload in (sigv4_claims.STREAMING_SIGNED, sigv4_claims.STREAMING_SIGNED_TRAILER)
    return Decoder(int(length), names, signed=signed, proof=verified if signed else None)


class Decoder:
    """One body. Feed it what arrives, then `finish` it."""

    def __init__(
        self, decoded_bytes: int, trailer_names: Iterable[str] = (), *, signed: bool = False, proof: Verified | None = None
    ) -> None:
        """
        Args:
            decoded_bytes: what x-amz-decoded-content-length promises.
            trailer_names: what x-amz-trailer announces, lower case; no others are taken.
            signed: each chunk carries a signature.
            proof: the request's verified signature, from which the chunks' follow; None when nobody verifies.
        """
        self.trailers: dict[str, str] = {}
        self._left = decoded_bytes
        self._names = frozenset(trailer_names)
        self._signed = signed
        self._proof = proof
        self._previous = proof.signature if proof else ""
        self._at = _At.HEAD
        self._line = bytearray()
        self._chunk_left = 0
        self._chunk_signature = ""
        self._chunk_hash = hashlib.sha256()
        self._trailer_signature = ""

    def feed(self, data: bytes) -> bytes:
        """
        Return the decoded bytes in `data`, which may be cut anywhere.

        Raises:
            AwsError: the framing is broken, a signature is wrong, or there is more than was promised.
        """
        out: list[bytes] = []
        position, end = 0, len(data)
        while position < end:
            if self._at is _At.DATA:
                piece = data[position : position + self._chunk_left]
                position += len(piece)
                self._take(piece)
                out.append(piece)
                continue
            newline = data.find(b"\n", position)
            stop = end if newline < 0 else newline + 1
            if len(self._line) + stop - position > LINE_BYTES:
                raise _malformed("a line is too long")
            self._line += data[position:stop]
            position = stop
            if newline >= 0:
                line, self._line = bytes(self._line), bytearray()
                self._read_line(line.rstrip(b"\r\n"))
        return out[0] if len(out) == 1 else b"".join(out)

    def finish(self) -> Mapping[str, str]:
        """
        Return the trailers, once the body has ended as it should.

        Raises:
            AwsError: IncompleteBody, MalformedTrailerError or SignatureDoesNotMatch.
        """
        if self._at is _At.TRAILER and not self._line:
            self._end_trailers()
        if self._at is not _At.END or self._left or self._line:
            raise _incomplete()
        return self.trailers

    def _take(self, piece: bytes) -> None:
        self._chunk_left -= len(piece)
        if self._proof is not None:
            self._chunk_hash.update(piece)
        if self._chunk_left == 0:
            self._at = _At.DATA_END

    def _read_line(self, line: bytes) -> None:
        match self._at:
            case _At.HEAD:
                self._read_head(line)
            case _At.DATA_END:
                if line:
                    raise _malformed("a chunk is longer than its head says")
                self._prove_chunk()
                self._at = _At.HEAD
            case _At.TRAILER:
                self._read_trailer(line)
            case _At.END if line:
                raise _malformed("bytes follow the end of the body")

    def _read_head(self, line: bytes) -> None:
        """Read "10000;chunk-signature=..."; the chunk of no bytes is the last."""
        size_text, _, extension = line.partition(b";")
        if not size_text or len(size_text) > 16 or not _HEX_DIGITS.issuperset(size_text):
            raise _malformed("a chunk's size is no number")
        size = int(size_text, 16)
        if size > self._left:
            raise _incomplete()
        name, _, value = extension.strip().partition(b"=")
        if self._signed and name != b"chunk-signature":
            raise _malformed("a chunk is not signed")
        self._chunk_signature = value.decode("latin-1")
        self._left -= size
        self._chunk_left = size
        self._at = _At.DATA
        if size == 0:
            self._prove_chunk()
            self._at = _At.TRAILER

    def _prove_chunk(self) -> None:
        if self._proof is None:
            return
        hashed = self._chunk_hash.hexdigest()
        self._chunk_hash = hashlib.sha256()
        self._prove("AWS4-HMAC-SHA256-PAYLOAD", f"{_EMPTY_SHA256}\n{hashed}", self._chunk_signature)

    def _prove(self, algorithm: str, hashes: str, claimed: str) -> None:
        """Compare a signature with the one that follows from the previous signature, and make it the previous one."""
        assert self._proof is not None, "only called with a proof"
        signable = f"{algorithm}\n{self._proof.at}\n{self._proof.scope}\n{self._previous}\n{hashes}"
        expected = hmac.digest(self._proof.signing_key, signable.encode(), "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claimed.encode("latin-1")):
            raise AwsError("SignatureDoesNotMatch", sigv4_errors.S3_MISMATCH, status=403)
        self._previous = expected

    def _read_trailer(self, line: bytes) -> None:
        """Read "name:value". A blank line ends the trailers, unless their signature is yet to come."""
        if not line:
            if not self._awaits_trailer_signature:
                self._end_trailers()
            return
        name_bytes, colon, value_bytes = line.partition(b":")
        name, value = name_bytes.decode("latin-1").strip().lower(), value_bytes.decode("latin-1").strip()
        if not colon or len(self.trailers) >= TRAILERS:
            raise _malformed_trailer()
        if name == _TRAILER_SIGNATURE and self._signed and not self._trailer_signature:
            self._trailer_signature = value
            return
        if name not in self._names or name in self.trailers or self._trailer_signature:
            raise _malformed_trailer()
        self.trailers[name] = value

    @property
    def _awaits_trailer_signature(self) -> bool:
        return self._signed and bool(self._names) and not self._trailer_signature

    def _end_trailers(self) -> None:
        if self._names - self.trailers.keys() or self._awaits_trailer_signature:
            raise _malformed_trailer()
        if self._names and self._proof is not None:
            text = "".join(f"{name}:{value}\n" for name, value in self.trailers.items())
            hashed = hashlib.sha256(text.encode("latin-1")).hexdigest()
            self._prove("AWS4-HMAC-SHA256-TRAILER", hashed, self._trailer_signature)
        self._at = _At.END


def _malformed(why: str) -> AwsError:
    return AwsError("InvalidRequest", f"The aws-chunked body is malformed: {why}.")


def _malformed_trailer() -> AwsError:
    message = "The request contained trailing data that was not well-formed or did not conform to our published schema."
    return AwsError("MalformedTrailerError", message)


def _incomplete() -> AwsError:
    message = "You did not provide the number of bytes specified by the Content-Length HTTP header"
    return AwsError("IncompleteBody", message)

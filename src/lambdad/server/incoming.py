"""Bodies that arrive while they are stored: gathered into pieces, freed of their aws-chunked framing, and proven as they pass.

Ordering: what a piece holds is proven only at the end, by its hash or its last chunk's signature. Whoever stores pieces keeps them apart
from what others see until the iteration has ended without an exception.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping

from lambdad.kit import http1, threads
from lambdad.model.errors import AwsError
from lambdad.wire import aws_chunked, sigv4_errors
from lambdad.wire.http import Request
from lambdad.wire.sigv4 import Reason, Refused, Verified
from lambdad.wire.sigv4_claims import Claim
from lambdad.wire.sigv4_errors import Family

PIECE_BYTES = 512 * 1024
"""What is handed on at once; about twice as much of each streamed body is in memory."""

GATHERED_BYTES = 128 * 1024 * 1024
"""What all streamed bodies together may gather; beyond it pieces are handed on as small as they come, which is slower."""

DRAINED_BYTES = 512 * 1024 * 1024
"""How much of a refused body is still read, so that its sender gets to read the answer; of a longer one the connection is closed."""

_SHA256_DIGITS = 64


class Gathered:
    """Counts what streamed bodies have gathered and not handed on yet."""

    def __init__(self) -> None:
        self.size_bytes = 0


class StreamedBody:
    """
    A body as `services.ports.IncomingBody`.

    Args:
        size_bytes: of the body without its framing.
        decoder: for an aws-chunked body.
        claim: its payload is the body's hash, where it is one.
        gathered: shared by all bodies of a server.
    """

    def __init__(
        self,
        stream: http1.BodyStream,
        size_bytes: int,
        decoder: aws_chunked.Decoder | None,
        claim: Claim | None,
        gathered: Gathered,
    ) -> None:
        self.size_bytes = size_bytes
        self.trailers: Mapping[str, str] = {}
        self._stream = stream
        self._all = gathered
        self._decoder = decoder
        self._claim = claim
        self._hash = hashlib.sha256() if claim is not None and len(claim.payload) == _SHA256_DIGITS else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """
        Give the pieces of the body.

        Raises:
            AwsError: it is not what was signed, its framing is broken, or it is too short.
            ClientDisconnected: the rest of it will never come.
        """
        pieces: list[bytes] = []
        size_bytes = 0
        try:
            async for chunk in self._stream:
                pieces.append(chunk)
                size_bytes += len(chunk)
                self._all.size_bytes += len(chunk)
                if size_bytes >= PIECE_BYTES or self._all.size_bytes > GATHERED_BYTES:
                    raw = b"".join(pieces)
                    self._all.size_bytes -= size_bytes
                    pieces, size_bytes = [], 0
                    yield await self._pass(raw)
        finally:
            self._all.size_bytes -= size_bytes
        if pieces:
            yield await self._pass(b"".join(pieces))
        self._finish()

    async def _pass(self, raw: bytes) -> bytes:
        if self._hash is None and self._decoder is None:
            return raw
        return await threads.run(self._prove, raw)

    def _prove(self, raw: bytes) -> bytes:
        if self._hash is not None:
            self._hash.update(raw)
        return raw if self._decoder is None else self._decoder.feed(raw)

    def _finish(self) -> None:
        if self._decoder is not None:
            self.trailers = self._decoder.finish()
        if self._hash is not None and self._claim is not None and self._hash.hexdigest() != self._claim.payload:
            refused = Refused(Reason.PAYLOAD_MISMATCH, self._claim, computed=self._hash.hexdigest())
            raise sigv4_errors.error_for(refused, Family.S3)


async def drain(stream: http1.BodyStream) -> None:
    """Read what nobody wants of a body, up to a bound.

    Raises:
        ClientDisconnected: the rest of it will never come.
    """
    left_bytes = DRAINED_BYTES
    async for chunk in stream:
        left_bytes -= len(chunk)
        if left_bytes < 0:
            return


def streamed(
    request: Request, stream: http1.BodyStream, claim: Claim | None, verified: Verified | None, gathered: Gathered
) -> StreamedBody:
    """
    Make the body of a request that is streamed.

    Raises:
        AwsError: MissingContentLength; S3 wants to know how long a body is before it comes.
    """
    if aws_chunked.is_chunked(request.headers):
        decoder = aws_chunked.decoder_for(request.headers, verified)
        return StreamedBody(stream, int(request.headers["x-amz-decoded-content-length"]), decoder, None, gathered)
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise AwsError("MissingContentLength", "You must provide the Content-Length HTTP header.", status=411)
    return StreamedBody(stream, int(length), None, claim, gathered)


async def check_hash(request: Request, claim: Claim) -> None:
    """
    Compare a body with the hash that its sender claims, where nobody can verify that he signed it.

    Raises:
        AwsError: XAmzContentSHA256Mismatch.
    """
    if len(claim.payload) != _SHA256_DIGITS:
        return
    hashed = await threads.run(hashlib.sha256, request.body) if len(request.body) > PIECE_BYTES else hashlib.sha256(request.body)
    if hashed.hexdigest() != claim.payload:
        raise sigv4_errors.error_for(Refused(Reason.PAYLOAD_MISMATCH, claim, computed=hashed.hexdigest()), Family.S3)

"""Bytes that come in: written to a file as they arrive, hashed, and compared with what the caller says they are."""

import base64
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from lambdad.kit import threads
from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext
from lambdad.services.s3 import errors
from lambdad.services.s3.files import Files
from lambdad.services.s3.rules import checksums, limits
from lambdad.services.s3.rules.checksums import Declared, Digests

_HASHED_IN_THREAD_BYTES: Final = 128 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """Bytes that are durable; `file` is None where there are none. `md5` is in hex.

    Args:
        declared: the checksum that the caller brought along, as name and value; None where he brought none.
    """

    file: str | None
    size_bytes: int
    md5: str
    algorithm: str
    checksum: str
    declared: tuple[str, str] | None = None


@contextlib.asynccontextmanager
async def receive(
    files: Files,
    ctx: CallContext,
    params: Mapping[str, Any],
    *,
    kept: str | None = None,
    least_bytes: int = 0,
    most_bytes: int = limits.PUT_BYTES,
) -> AsyncIterator[Received]:
    """
    Take a request's body, and have it durable while the block commits the row that names it.

    Args:
        kept: the checksum that is stored; None for the one that the caller brings, or S3's own where he brings none.
        least_bytes, most_bytes: how long the body may be.

    Raises:
        AwsError: the body is too long or too short, or is not what its MD5 or checksum says.

    Resource handling: where the block raises an AwsError the file is removed. After any other exception it is not known whether a row
    names it; the next start will find out.
    """
    declared = checksums.declared(params, ctx.headers.get("x-amz-trailer", ""))
    md5 = checksums.md5_of_header(params.get("ContentMD5"))
    algorithm = kept or (declared.algorithm if declared is not None else checksums.DEFAULT)
    algorithms = [algorithm] if declared is None or declared.algorithm == algorithm else [algorithm, declared.algorithm]
    body = params.get("Body", b"")
    if isinstance(body, bytes):
        if len(body) > most_bytes:
            raise errors.EntityTooLarge(len(body), most_bytes)
        digests = Digests(*algorithms)
        if len(body) > _HASHED_IN_THREAD_BYTES:
            await threads.run(digests.update, body)
        else:
            digests.update(body)
        _check(digests, declared, md5, {}, least_bytes)
        file = await files.put(body) if body else None
        try:
            yield _received(file, digests, algorithm, declared)
        except AwsError:
            if file is not None:
                await files.remove([file])
            raise
        return
    if (body.size_bytes or 0) > most_bytes:
        raise errors.EntityTooLarge(body.size_bytes, most_bytes)
    async with files.writing(*algorithms) as writer:
        async for piece in body:
            await writer.write(piece)
            if writer.digests.size_bytes > most_bytes:
                raise errors.EntityTooLarge(writer.digests.size_bytes, most_bytes)
        _check(writer.digests, declared, md5, body.trailers, least_bytes)
        name = await writer.finish()
        writer.keep()
        try:
            yield _received(name, writer.digests, algorithm, declared)
        except AwsError:
            await files.remove([name])
            raise


def _received(file: str | None, digests: Digests, algorithm: str, declared: Declared | None) -> Received:
    return Received(
        file=file,
        size_bytes=digests.size_bytes,
        md5=digests.md5.hex(),
        algorithm=algorithm,
        checksum=digests.checksum(algorithm),
        declared=None if declared is None else (declared.algorithm, digests.checksum(declared.algorithm)),
    )


def _check(digests: Digests, declared: Declared | None, md5: bytes | None, trailers: Mapping[str, str], least_bytes: int) -> None:
    if digests.size_bytes < least_bytes:
        raise errors.S3Error(
            "EntityTooSmall",
            "Your proposed upload is smaller than the minimum allowed size",
            ProposedSize=digests.size_bytes,
            MinSizeAllowed=least_bytes,
        )
    if md5 is not None and md5 != digests.md5:
        raise errors.BadDigest(
            "The Content-MD5 you specified did not match what we received.",
            ExpectedDigest=base64.b64encode(md5).decode(),
            CalculatedDigest=base64.b64encode(digests.md5).decode(),
        )
    if declared is None:
        return
    claimed = declared.value if declared.value is not None else trailers.get(checksums.header(declared.algorithm))
    if claimed is None:
        raise errors.S3Error(
            "MalformedTrailerError",
            "The request contained trailing data that was not well-formed or did not conform to our published schema.",
        )
    checksums.check(declared.algorithm, claimed, digests.checksum(declared.algorithm))

"""The service: its parts put together, its operations by name, and what it does by itself."""

import base64
import hashlib
import secrets
from pathlib import Path
from typing import Any, Final, NoReturn

from lambdad.kit.clock import NowMs
from lambdad.services.outbox import Outbox
from lambdad.services.ports import CallContext, Handler, Neighbours, Service
from lambdad.services.s3 import errors
from lambdad.services.s3.acls import Acls
from lambdad.services.s3.buckets import Buckets
from lambdad.services.s3.configurations import Configurations
from lambdad.services.s3.deleting import Deleting
from lambdad.services.s3.files import Files
from lambdad.services.s3.forms import Forms
from lambdad.services.s3.listing import Listing
from lambdad.services.s3.multipart import Multipart
from lambdad.services.s3.notifications import Announcements, Notifications
from lambdad.services.s3.objects import Objects
from lambdad.services.s3.ports import NewId
from lambdad.services.s3.reading import Reading
from lambdad.services.s3.rules import checksums
from lambdad.services.s3.sites import Sites
from lambdad.services.s3.tagging import Tagging
from lambdad.services.s3.upkeep import Upkeep
from lambdad.services.s3.upload_listing import UploadListing
from lambdad.services.s3.web import Web
from lambdad.store.database import Database
from lambdad.store.migrations import Migrations, load_migrations

_ID_BYTES: Final = 24
_OF_OBJECT: Final = frozenset({"PutObject", "UploadPart", "CompleteMultipartUpload"})
"""Operations whose digests are those of an object or a part; the others' are of the document that is their body."""


def migrations() -> Migrations:
    """Return the schema that the service needs in its database."""
    return load_migrations("lambdad.services.s3")


def new_id() -> str:
    """Make an id nobody can guess, for a version or an upload: 32 letters and digits."""
    return secrets.token_urlsafe(_ID_BYTES).replace("-", "M").replace("_", "w")


class S3Service:
    """
    S3.

    Args:
        database: opened with `migrations`.
        root: the directory of the objects' files; made if it is not there.
        outbox: how others are told of what happens to objects.
        neighbours: who is asked whether he may be told.
        now_ms: the clock.
        new_id: makes ids of versions and uploads.

    Resource handling: `open` first, `close` last; `run` is to be kept running between them.
    """

    def __init__(
        self, database: Database, root: Path, outbox: Outbox, neighbours: Neighbours, now_ms: NowMs, *, new_id: NewId = new_id
    ) -> None:
        files = self._files = Files(root)
        announcer = Announcements(outbox, now_ms)
        objects = Objects(database, files, announcer, new_id, now_ms)
        reading = Reading(database, files)
        self.upkeep = Upkeep(database, files, announcer, new_id, now_ms)
        self._web = Web(database, Forms(objects, now_ms), Sites(database, reading))
        self._chapters = (
            Buckets(database, now_ms),
            objects,
            reading,
            Deleting(database, announcer, new_id, now_ms),
            Listing(database),
            Multipart(database, files, announcer, new_id, now_ms),
            UploadListing(database),
            Tagging(database, announcer, now_ms),
            Acls(database, announcer, now_ms),
            Configurations(database, new_id),
            Notifications(database, neighbours, new_id, now_ms),
        )

    async def open(self) -> None:
        """Look what files there are; before anything else."""
        await self._files.__aenter__()

    async def close(self) -> None:
        """Finish what is being written."""
        await self._files.__aexit__(None, None, None)

    def service(self) -> Service:
        """Return the operations for the server."""
        handlers: dict[str, Handler] = {}
        for chapter in self._chapters:
            for name, handler in chapter.handlers().items():
                handlers[name] = self._checked(name, handler)
        return Service(name="s3", handlers=handlers, web=self._web)

    async def run(self) -> NoReturn:
        """Remove what nobody needs any more, and carry out lifecycle rules, until cancelled."""
        await self.upkeep.run()

    def _checked(self, name: str, handler: Handler) -> Handler:
        """Check what is said of a document in headers, and let pages of other hosts read the answer where the bucket says so."""

        async def handle(ctx: CallContext, params: dict[str, Any]) -> dict[str, Any]:
            if ctx.body and name not in _OF_OBJECT:
                check_document(ctx)
            if name == "DeleteObjects" and ctx.origin is None:
                check_has_digest(ctx)
            try:
                return await handler(ctx, params)
            finally:
                if "origin" in ctx.headers and "Bucket" in params:
                    method = _METHODS.get(name[:3], "GET")
                    ctx.answer_headers.extend(await self._web.cors_headers(params["Bucket"], ctx.headers["origin"], method))

        return handle


_METHODS: Final = {"Put": "PUT", "Upl": "PUT", "Cop": "PUT", "Del": "DELETE", "Abo": "DELETE", "Hea": "HEAD", "Com": "POST", "Cre": "POST"}


def check_document(ctx: CallContext) -> None:
    """
    Compare a document with the digests in its request's headers.

    Raises:
        BadDigest, InvalidDigest, InvalidRequest: it is another.
    """
    md5 = checksums.md5_of_header(ctx.headers.get("content-md5"))
    if md5 is not None and md5 != hashlib.md5(ctx.body, usedforsecurity=False).digest():
        raise errors.BadDigest(
            "The Content-MD5 you specified did not match what we received.",
            ExpectedDigest=base64.b64encode(md5).decode(),
            CalculatedDigest=base64.b64encode(hashlib.md5(ctx.body, usedforsecurity=False).digest()).decode(),
        )
    if ctx.headers.get("x-amz-content-sha256", "").startswith("STREAMING-"):
        return  # the document was framed; what its trailer says was merged into the operation's own members
    for algorithm in checksums.ALGORITHMS:
        claimed = ctx.headers.get(checksums.header(algorithm))
        if claimed is not None:
            checksums.check(algorithm, claimed, checksums.of(algorithm, ctx.body))


def check_has_digest(ctx: CallContext) -> None:
    """
    Check that a request brings a digest of its document, as deleting many objects takes.

    Raises:
        InvalidRequest: it does not.
    """
    names = ("content-md5", "x-amz-trailer", *(checksums.header(algorithm) for algorithm in checksums.ALGORITHMS))
    if not any(name in ctx.headers for name in names):
        raise errors.InvalidRequest("Missing required header for this request: Content-MD5 OR x-amz-checksum-*")

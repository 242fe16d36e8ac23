"""What browsers send S3 that is no operation of its API: preflights, forms with files, and visits of websites."""

from typing import Final
from urllib.parse import unquote

from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext, FormProof, IncomingBody
from lambdad.services.s3 import configurations
from lambdad.services.s3.forms import Forms
from lambdad.services.s3.rules import cors
from lambdad.services.s3.sites import Sites, bucket_document
from lambdad.store.database import Database
from lambdad.wire.http import Request, Response

_WEBSITE_LABEL: Final = ".s3-website"


class Web:
    """Implements `services.ports.WebHandler`."""

    def __init__(self, database: Database, forms: Forms, sites: Sites) -> None:
        self._database = database
        self._forms = forms
        self._sites = sites

    async def __call__(self, context: CallContext, request: Request, body: IncomingBody | None, prove: FormProof) -> Response:
        """Answer a request; see the port."""
        bucket, _, key = request.path.removeprefix("/").partition("/")
        bucket, key = unquote(bucket), unquote(key)
        if request.method == "OPTIONS":
            return await self._preflight(request, bucket)
        is_visit = _WEBSITE_LABEL in request.headers.get("host", "").lower() and request.method != "POST"
        if "origin" in request.headers:
            context.answer_headers.extend(await self.cors_headers(bucket, request.headers["origin"], request.method))
        if is_visit:
            return await self._sites.visit(context, request, bucket, key)
        return await self._forms.upload(request, bucket, body, prove)

    async def cors_headers(self, bucket: str, origin: str, method: str) -> cors.Headers:
        """Return the headers that let a page of another host read an answer from a bucket."""
        try:
            configuration = await self._database.read(lambda connection: bucket_document(connection, bucket, configurations.CORS))
        except AwsError:
            return []
        return cors.of_answer(configuration, origin, method)

    async def _preflight(self, request: Request, bucket: str) -> Response:
        headers = request.headers
        configuration = await self._database.read(lambda connection: bucket_document(connection, bucket, configurations.CORS))
        answer = cors.preflight(
            configuration,
            headers.get("origin", ""),
            headers.get("access-control-request-method", ""),
            headers.get("access-control-request-headers", ""),
        )
        return Response(200, answer, b"")

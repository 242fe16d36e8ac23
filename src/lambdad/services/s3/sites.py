"""Websites of buckets: pages for browsers, read by everybody whom the bucket's policy lets."""

import html
from collections.abc import Mapping
from typing import Any, Final

import orjson

from lambdad.model.errors import AwsError
from lambdad.services.ports import CallContext
from lambdad.services.s3 import errors, rows
from lambdad.services.s3.reading import Reading
from lambdad.services.s3.rules import names, policies, websites
from lambdad.services.s3.rules.websites import Redirect
from lambdad.store.connection import Connection
from lambdad.store.database import Database
from lambdad.wire.http import Request, Response
from lambdad.wire.timestamps import to_rfc822

_CONDITIONS: Final = {
    "if-match": "IfMatch",
    "if-none-match": "IfNoneMatch",
    "range": "Range",
}
_SHOWN: Final = {
    "ContentType": "Content-Type",
    "CacheControl": "Cache-Control",
    "ContentDisposition": "Content-Disposition",
    "ContentEncoding": "Content-Encoding",
    "ContentLanguage": "Content-Language",
    "ContentRange": "Content-Range",
    "ETag": "ETag",
}


def bucket_document(connection: Connection, name: str, kind: str) -> Any:
    """
    Return a configuration of a bucket, whoever asks; None where there is none.

    Raises:
        NoSuchBucket: there is no such bucket.
    """
    bucket = connection.one(rows.queries.get_bucket, name=name)
    if bucket is None:
        raise errors.NoSuchBucket(name)
    return rows.document(connection, bucket, kind)


class Sites:
    """Answers visits."""

    def __init__(self, database: Database, reading: Reading) -> None:
        self._database = database
        self._reading = reading

    async def visit(self, ctx: CallContext, request: Request, name: str, key: str) -> Response:
        """Answer with a page, a redirect or an error page. Never raises an AwsError: browsers get HTML."""
        protocol, host = "http", request.headers.get("host", "")
        try:
            if request.method not in ("GET", "HEAD"):
                raise errors.MethodNotAllowed(request.method, "OBJECT")
            bucket, site, policy = await self._database.read(lambda connection: _find(connection, name))
        except AwsError as error:
            return _error_page(error)
        everywhere = websites.redirect_all(site, key, protocol) or websites.redirect(site, key, None, protocol, host)
        if everywhere is not None:
            return _sent(everywhere)
        visitor = _as_owner(ctx, bucket.account)
        page_key, folder_key = websites.keys(site, key)
        try:
            return await self._page(visitor, request, bucket, policy, page_key)
        except AwsError as error:
            refusal = error
        if refusal.status == 304:
            return Response(304, [], b"")
        if refusal.status == 404 and folder_key is not None and await self._is_there(visitor, bucket, policy, folder_key):
            return _sent(Redirect(f"/{key}/", 302))
        redirect = websites.redirect(site, key, refusal.status, protocol, host)
        if redirect is not None:
            return _sent(redirect)
        error_key = (site.get("ErrorDocument") or {}).get("Key")
        if error_key is not None and 400 <= refusal.status < 500:
            try:
                page = await self._page(visitor, request, bucket, policy, error_key)
            except AwsError:
                return _error_page(refusal)
            return Response(refusal.status, page.headers, page.body)
        return _error_page(refusal)

    async def _page(self, ctx: CallContext, request: Request, bucket: Any, policy: Mapping[str, Any], key: str) -> Response:
        if not _lets(policy, bucket, key):
            raise errors.AccessDenied
        params: dict[str, Any] = {"Bucket": bucket.name, "Key": key}
        params |= {member: request.headers[header] for header, member in _CONDITIONS.items() if header in request.headers}
        is_head = request.method == "HEAD"
        found = await (self._reading.head_object if is_head else self._reading.get_object)(ctx, params)
        ctx.answer_headers.clear()
        if found.get("WebsiteRedirectLocation"):
            return _sent(Redirect(found["WebsiteRedirectLocation"], 301))
        headers = [(header, str(found[member])) for member, header in _SHOWN.items() if found.get(member)]
        headers.append(("Last-Modified", to_rfc822(found["LastModified"])))
        headers += [(f"x-amz-meta-{name}", value) for name, value in found["Metadata"].items() if value.isascii() and value.isprintable()]
        if is_head or not isinstance(found["Body"], bytes):
            headers.append(("Content-Length", str(found["ContentLength"])))
        status = 206 if "ContentRange" in found else 200
        return Response(status, headers, b"" if is_head else found["Body"])

    async def _is_there(self, ctx: CallContext, bucket: Any, policy: Mapping[str, Any], key: str) -> bool:
        if not _lets(policy, bucket, key):
            return False
        try:
            await self._reading.head_object(ctx, {"Bucket": bucket.name, "Key": key})
        except AwsError:
            return False
        finally:
            ctx.answer_headers.clear()
        return True


def _find(connection: Connection, name: str) -> tuple[Any, Any, Mapping[str, Any]]:
    bucket = connection.one(rows.queries.get_bucket, name=name)
    if bucket is None:
        raise errors.NoSuchBucket(name)
    site = rows.document(connection, bucket, "website")
    if site is None:
        raise errors.NotConfigured("NoSuchWebsiteConfiguration", "The specified bucket does not have a website configuration", name)
    block = rows.document(connection, bucket, rows.PUBLIC_ACCESS) or {}
    text = rows.document(connection, bucket, rows.POLICY)
    policy = orjson.loads(text) if text is not None and not block.get("RestrictPublicBuckets") else {}
    return bucket, site, policy


def _lets(policy: Mapping[str, Any], bucket: Any, key: str) -> bool:
    return policies.lets_everybody(policy, "s3:GetObject", f"{names.bucket_arn(bucket.name, bucket.region)}/{key}")


def _as_owner(ctx: CallContext, account: str) -> CallContext:
    """Read as the bucket's owner does: that the visitor may read the object has been decided by the policy."""
    return CallContext(
        account=account,  # type: ignore[arg-type]  # an account id, as it came from a row
        region=ctx.region,
        request_id=ctx.request_id,
        principal_arn="anonymous",
        headers=ctx.headers,
    )


def _sent(redirect: Redirect) -> Response:
    return Response(redirect.status, [("Location", redirect.location)], b"")


def _error_page(error: AwsError) -> Response:
    told = {"Code": error.code, "Message": error.message, **error.members}
    items = "".join(f"<li>{html.escape(name)}: {html.escape(str(value))}</li>\n" for name, value in told.items() if value is not None)
    title = f"{error.status} {html.escape(error.code)}"
    page = f"<html>\n<head><title>{title}</title></head>\n<body>\n<h1>{title}</h1>\n<ul>\n{items}</ul>\n<hr/>\n</body>\n</html>\n"
    headers = [("Content-Type", "text/html; charset=utf-8"), ("x-amz-error-code", error.code)]
    return Response(error.status, headers, page.encode())

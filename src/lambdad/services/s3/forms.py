"""Forms with which browsers upload a file: POST to a bucket, multipart/form-data, let by a policy that somebody has signed."""

from collections.abc import AsyncIterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from lambdad.kit.clock import NowMs
from lambdad.services.ports import CallContext, FormProof, IncomingBody
from lambdad.services.s3 import errors
from lambdad.services.s3.objects import Objects
from lambdad.services.s3.rules import checksums, limits, multipart_forms, post_policies, tags
from lambdad.services.s3.rules.multipart_forms import FormReader
from lambdad.wire import timestamps, xml_reader
from lambdad.wire.http import Request, Response

_TEXTS: Final = {
    "acl": "ACL",
    "cache-control": "CacheControl",
    "content-disposition": "ContentDisposition",
    "content-encoding": "ContentEncoding",
    "content-language": "ContentLanguage",
    "content-type": "ContentType",
    "x-amz-storage-class": "StorageClass",
    "x-amz-website-redirect-location": "WebsiteRedirectLocation",
    "x-amz-server-side-encryption": "ServerSideEncryption",
    "x-amz-server-side-encryption-aws-kms-key-id": "SSEKMSKeyId",
    "x-amz-server-side-encryption-customer-algorithm": "SSECustomerAlgorithm",
} | {checksums.header(algorithm): checksums.member(algorithm) for algorithm in checksums.ALGORITHMS}
_META: Final = "x-amz-meta-"
_FILENAME: Final = "${filename}"


class Forms:
    """Takes forms."""

    def __init__(self, objects: Objects, now_ms: NowMs) -> None:
        self._objects = objects
        self._now_ms = now_ms

    async def upload(self, request: Request, bucket: str, body: IncomingBody | None, prove: FormProof) -> Response:
        """
        Keep a form's file.

        Raises:
            AccessDenied: the policy has expired, or does not let this form.
            InvalidArgument, MalformedPost, S3Error: the form is not one that S3 takes.
        """
        reader = FormReader(multipart_forms.boundary_of(request.headers.get("content-type", "")))
        file = _File(reader, _pieces(request, body))
        await file.read_head()
        fields = reader.fields
        assert reader.file is not None, "read_head raises otherwise"
        key = fields.get("key")
        if key is None:
            raise errors.InvalidArgument(
                "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields.", "key", ""
            )
        ctx = prove(fields)
        size_range = None
        if "policy" in fields:
            document = post_policies.parsed(fields["policy"])
            size_range = post_policies.check(document, fields, bucket, self._now_ms())
        key = key.replace(_FILENAME, reader.file.filename)
        if not key:
            raise errors.InvalidArgument("User key must have a length greater than 0.", "key", "")
        least, most = size_range or (0, limits.PUT_BYTES)
        params = {**_params(fields), "Bucket": bucket, "Key": key, "Body": file}
        answer = await self._objects.put(
            ctx, params, event="s3:ObjectCreated:Post", least_bytes=least, most_bytes=min(most, limits.PUT_BYTES)
        )
        return _answer(ctx, fields, bucket, key, answer)


class _File:
    """A form's file as `services.ports.IncomingBody`."""

    def __init__(self, reader: FormReader, pieces: AsyncIterator[bytes]) -> None:
        self.size_bytes = 0  # unknown
        self.trailers: Mapping[str, str] = {}
        self._reader = reader
        self._pieces = pieces
        self._first = b""

    async def read_head(self) -> None:
        """Read the fields before the file."""
        async for piece in self._pieces:
            self._first = self._reader.feed(piece)
            if self._reader.file is not None:
                return
        self._reader.finish()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._first:
            yield self._first
        async for piece in self._pieces:
            found = self._reader.feed(piece)
            if found:
                yield found
        self._reader.finish()


async def _pieces(request: Request, body: IncomingBody | None) -> AsyncIterator[bytes]:
    if body is None:
        yield request.body
        return
    async for piece in body:
        yield piece


def _params(fields: Mapping[str, str]) -> dict[str, Any]:
    """Read a form's fields as the members of PutObject's input."""
    params: dict[str, Any] = {_TEXTS[name]: value for name, value in fields.items() if name in _TEXTS and value}
    metadata = {name.removeprefix(_META): value for name, value in fields.items() if name.startswith(_META)}
    if metadata:
        params["Metadata"] = metadata
    if fields.get("expires"):
        params["Expires"] = timestamps.from_text(fields["expires"])
    if fields.get("tagging"):
        params["Tagging"] = urlencode(_tags_of(fields["tagging"]))
    return params


def _tags_of(document: str) -> dict[str, str]:
    """Read the tagging field, which is XML where the header is a query."""
    found: list[dict[str, str]] = []
    for element in xml_reader.parse(document.encode()).iter():
        if xml_reader.local_name(element.tag) == "Tag":
            found.append({xml_reader.local_name(child.tag): child.text or "" for child in element})
    return tags.checked(found, limits.OBJECT_TAGS)


def _answer(ctx: CallContext, fields: Mapping[str, str], bucket: str, key: str, answer: Mapping[str, Any]) -> Response:
    location = f"{ctx.endpoint}/{bucket}/{quote(key)}"
    etag = answer["ETag"]
    headers = [("Location", location), ("ETag", etag)]
    if answer.get("VersionId"):
        headers.append(("x-amz-version-id", answer["VersionId"]))
    target = fields.get("success_action_redirect") or fields.get("redirect")
    if target and urlsplit(target).scheme in ("http", "https"):
        parts = urlsplit(target)
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("bucket", bucket), ("key", key), ("etag", etag)])
        return Response(303, [("Location", urlunsplit(parts._replace(query=query))), ("ETag", etag)], b"")
    match fields.get("success_action_status"):
        case "200":
            return Response(200, headers, b"")
        case "201":
            document = (
                '<?xml version="1.0" encoding="UTF-8"?>\n'
                f"<PostResponse><Location>{escape(location, quote=False)}</Location><Bucket>{escape(bucket, quote=False)}</Bucket>"
                f"<Key>{escape(key, quote=False)}</Key><ETag>{escape(etag, quote=False)}</ETag></PostResponse>"
            )
            return Response(201, [*headers, ("Content-Type", "application/xml")], document.encode())
    return Response(204, headers, b"")

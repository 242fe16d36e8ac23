"""Verify presigned requests of S3's older signature, version 2: what boto3 still makes by default for links in us-east-1.

    ?AWSAccessKeyId=AKID&Signature=base64&Expires=1700000000

Rules of this file: pure, as `sigv4`. The older signature in an Authorization header is not taken.

Source: S3 User Guide, "Signing and authenticating REST requests" (AWS signature version 2).
"""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import unquote_plus

from lambdad.model.errors import AwsError
from lambdad.wire.sigv4 import Reason, Refused
from lambdad.wire.sigv4_claims import Claim

_SUBRESOURCES = frozenset(
    {
        "accelerate",
        "acl",
        "cors",
        "defaultObjectAcl",
        "delete",
        "lifecycle",
        "location",
        "logging",
        "notification",
        "partNumber",
        "policy",
        "replication",
        "requestPayment",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "restore",
        "select",
        "select-type",
        "storageClass",
        "tagging",
        "torrent",
        "uploadId",
        "uploads",
        "versionId",
        "versioning",
        "versions",
        "website",
    }
)


def verify(claim: Claim, method: str, path: str, query: str, headers: Mapping[str, str], secret: str, now_s: float) -> None:
    """
    Prove that the holder of `secret` signed this link.

    Args:
        path: raw, beginning with the bucket, also where the host name named it.
        query: raw.

    Raises:
        AwsError: AccessDenied, a part is missing or the link has expired.
        Refused: it is not so.
    """
    fields = dict(part.partition("=")[::2] for part in reversed(query.split("&")))
    signature, expires = unquote_plus(fields.get("Signature", "")), fields.get("Expires", "")
    if not signature or not (expires.isascii() and expires.isdigit() and len(expires) <= 12):
        message = "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        raise AwsError("AccessDenied", message, status=403)
    if now_s > int(expires):
        shown = {"Expires": _moment(int(expires)), "ServerTime": _moment(int(now_s))}
        raise AwsError("AccessDenied", "Request has expired", status=403, members=shown)
    signable = "\n".join(
        [
            method,
            headers.get("content-md5", ""),
            headers.get("content-type", ""),
            expires,
            _amazon_headers(headers) + _resource(path, query),
        ]
    )
    expected = sign(secret, signable.encode("latin-1", "replace"))
    if not hmac.compare_digest(expected.encode(), signature.encode("latin-1", "replace")):
        raise Refused(Reason.MISMATCH, claim, canonical_request="", string_to_sign=signable)


def sign(secret: str, data: bytes) -> str:
    """Return the signature of a string to sign, or of a form's policy."""
    return base64.b64encode(hmac.digest(secret.encode(), data, hashlib.sha1)).decode()


def _amazon_headers(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}:{value.strip()}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-"))


def _resource(path: str, query: str) -> str:
    parts = [part for part in query.split("&") if part.partition("=")[0] in _SUBRESOURCES]
    named = [part if "=" not in part else f"{part.partition('=')[0]}={unquote_plus(part.partition('=')[2])}" for part in sorted(parts)]
    return path + ("?" + "&".join(named) if named else "")


def _moment(at_s: int) -> str:
    return datetime.fromtimestamp(min(at_s, 253402300799), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

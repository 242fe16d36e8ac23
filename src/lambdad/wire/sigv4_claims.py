"""What a request claims about its signer, read from its Authorization header or its presigned query. Nothing is proven here.

Rules of this file: it never raises and never asks whether a claim is true. A claim that can be read only in part carries the reason
as `problem`, so that a server that accepts any credential can still learn the account, the region and the service.
"""

import email.utils
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import parse_qsl

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"

UNSIGNED_PAYLOAD = "UNSIGNED-PAYLOAD"
STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"

_PRESIGNED_DEFAULT_S = 900  # STS accepts presigned requests without X-Amz-Expires for fifteen minutes

# The form that every AWS SDK writes; all others take the slow path.
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,\s]+)/(\d{8})/([^/,\s]+)/([^/,\s]+)/aws4_request, ?"
    r"SignedHeaders=([^,\s]+), ?Signature=([0-9a-f]{64})",
    re.ASCII,
).fullmatch
_PRESIGNED_HINT = re.compile(r"(?:^|&)(?:X-Amz-(?:Algorithm|Credential|Signature)|AWSAccessKeyId)=").search
_AT = re.compile(r"[0-9]{8}T[0-9]{6}Z").fullmatch


class Problem(StrEnum):
    """Why a claim cannot be verified, whoever made it."""

    ALGORITHM = "algorithm"  # facts: algorithm
    SIGNATURE_V2 = "signature version 2"
    TWO_MECHANISMS = "header and query both sign"
    NOT_PAIRS = "not key=value"  # facts: part, header
    MISSING = "parts are missing"  # facts: missing ("Credential,Signature"), header
    CREDENTIAL = "credential is not five parts"  # facts: credential
    TERMINATOR = "credential ends wrongly"  # facts: terminator
    DATE = "date is absent or unreadable"
    EXPIRES = "X-Amz-Expires is no number, or outside 1..604800"  # facts: expires


class Flaw(NamedTuple):
    problem: Problem
    facts: Mapping[str, str] = {}


class Claim(NamedTuple):
    """Who says he signed, for what, when and how. Parts that could not be read are empty; then `flaw` says why.

    Args:
        day: the credential scope's date, "20260102".
        at: time of signing, "20260102T030405Z".
        signed_headers: names as sent, "host;x-amz-date".
        signature: 64 lower-case hex digits.
        payload: what stands for the body in the canonical request: a hash, a literal such as UNSIGNED-PAYLOAD, or "" when the
            request does not say, which means the hash of the body as received.
        expires_s: lifetime of a presigned request; None for a request signed by header.
    """

    access_key_id: str
    day: str = ""
    region: str = ""
    service: str = ""
    at: str = ""
    signed_headers: str = ""
    signature: str = ""
    payload: str = ""
    session_token: str | None = None
    expires_s: int | None = None
    flaw: Flaw | None = None

    @property
    def scope(self) -> str:
        return f"{self.day}/{self.region}/{self.service}/{TERMINATOR}"

    @property
    def is_presigned(self) -> bool:
        return self.expires_s is not None

    @property
    def needs_body_hash(self) -> bool:
        """Whether verifying takes the SHA-256 of the body: it is claimed, or nothing else is."""
        return self.payload == "" or len(self.payload) == 64


def read(query: str, headers: Mapping[str, str]) -> Claim | None:
    """
    Read the claim of a request.

    Args:
        query: raw query string, still percent-encoded.
        headers: names in lower case; repeated ones joined by commas.

    Returns:
        The claim, or None for a request that carries no AWS signature at all.
    """
    authorization = headers.get("authorization")
    presigned = "X-Amz-" in query or "AWSAccessKeyId" in query
    if authorization is None:
        return _presigned(query, headers) if presigned and _PRESIGNED_HINT(query) else None
    match = _AUTHORIZATION(authorization)
    if match is None or presigned:
        return _unusual(authorization, query, headers)
    at = headers.get("x-amz-date", "")
    if not _AT(at):
        at = _at_from_date(headers)
    access_key_id, day, region, service, signed_headers, signature = match.groups()
    return Claim(
        access_key_id,
        day,
        region,
        service,
        at,
        signed_headers,
        signature,
        headers.get("x-amz-content-sha256", ""),
        headers.get("x-amz-security-token"),
        None,
        None if at else Flaw(Problem.DATE),
    )


def _at_from_date(headers: Mapping[str, str]) -> str:
    """Return X-Amz-Date's stand-in, the Date header, in X-Amz-Date's form; "" if there is none or X-Amz-Date is garbage."""
    date = headers.get("date", "")
    if "x-amz-date" in headers or not date:
        return ""
    if _AT(date):
        return date
    try:
        return email.utils.parsedate_to_datetime(date).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return ""


def _unusual(authorization: str, query: str, headers: Mapping[str, str]) -> Claim | None:
    """Read an Authorization header that is not as the SDKs write it, or not alone."""
    algorithm, _, rest = authorization.strip().partition(" ")
    presigned = _PRESIGNED_HINT(query) is not None
    if algorithm == "AWS":
        return Claim(rest.partition(":")[0].strip(), flaw=Flaw(Problem.SIGNATURE_V2))
    if not algorithm.startswith("AWS4-"):
        return _presigned(query, headers) if presigned else None
    fields: dict[str, str] = {}
    flaw: Flaw | None = Flaw(Problem.TWO_MECHANISMS) if presigned else None
    for part in rest.split(","):
        name, equals, value = part.strip().partition("=")
        if equals:
            fields[name] = value
        elif name and flaw is None:
            flaw = Flaw(Problem.NOT_PAIRS, {"part": name, "header": authorization})
    missing = [name for name in ("Credential", "Signature", "SignedHeaders") if not fields.get(name)]
    if missing and flaw is None:
        flaw = Flaw(Problem.MISSING, {"missing": ",".join(missing), "header": authorization})
    at = headers.get("x-amz-date", "")
    if not _AT(at):
        at = _at_from_date(headers)
        if not at and flaw is None:
            flaw = Flaw(Problem.DATE, {"header": authorization})
    return _claim(
        algorithm,
        fields.get("Credential", ""),
        flaw,
        at=at,
        signed_headers=fields.get("SignedHeaders", ""),
        signature=fields.get("Signature", ""),
        payload=headers.get("x-amz-content-sha256", ""),
        session_token=headers.get("x-amz-security-token"),
    )


def _presigned(query: str, headers: Mapping[str, str]) -> Claim:
    """Read the X-Amz-* parameters of a presigned request."""
    fields = dict(reversed(parse_qsl(query, keep_blank_values=True)))  # the first of each name counts
    if "X-Amz-Algorithm" not in fields and "AWSAccessKeyId" in fields:
        # Only S3 ever took such links; they name neither region nor day.
        token = fields.get("x-amz-security-token")
        return Claim(fields["AWSAccessKeyId"], service="s3", session_token=token, flaw=Flaw(Problem.SIGNATURE_V2, {"in": "query"}))
    service_of = fields.get("X-Amz-Credential", "").split("/")
    is_s3 = len(service_of) >= 2 and service_of[-2] == "s3"
    wanted = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-SignedHeaders", "X-Amz-Signature"]
    missing = [name for name in wanted if not fields.get(name)]
    expires = fields.get("X-Amz-Expires")
    flaw: Flaw | None = None
    if missing or (is_s3 and expires is None):
        flaw = Flaw(Problem.MISSING, {"missing": ",".join(name.removeprefix("X-Amz-") for name in missing)})
    elif not _AT(fields["X-Amz-Date"]):
        flaw = Flaw(Problem.DATE)
    expires_s = _PRESIGNED_DEFAULT_S
    if expires is not None:
        if len(expires) <= 6 and expires.isascii() and expires.isdigit() and 1 <= int(expires) <= 604_800:
            expires_s = int(expires)
        elif flaw is None:
            flaw = Flaw(Problem.EXPIRES, {"expires": expires})
    payload = headers.get("x-amz-content-sha256") or fields.get("X-Amz-Content-Sha256", "")
    return _claim(
        fields.get("X-Amz-Algorithm", ""),
        fields.get("X-Amz-Credential", ""),
        flaw,
        at=fields.get("X-Amz-Date", ""),
        signed_headers=fields.get("X-Amz-SignedHeaders", ""),
        signature=fields.get("X-Amz-Signature", ""),
        payload=payload or (UNSIGNED_PAYLOAD if is_s3 else ""),
        session_token=fields.get("X-Amz-Security-Token"),
        expires_s=expires_s,
    )


def _claim(
    algorithm: str,
    credential: str,
    flaw: Flaw | None,
    *,
    at: str,
    signed_headers: str,
    signature: str,
    payload: str,
    session_token: str | None,
    expires_s: int | None = None,
) -> Claim:
    """Take the credential apart and put the claim together; the first flaw found stays."""
    parts = credential.split("/")
    if flaw is None and algorithm != ALGORITHM:
        flaw = Flaw(Problem.ALGORITHM, {"algorithm": algorithm})
    if flaw is None and (len(parts) != 5 or not all(parts)):
        flaw = Flaw(Problem.CREDENTIAL, {"credential": credential})
    if flaw is None and parts[4] != TERMINATOR:
        flaw = Flaw(Problem.TERMINATOR, {"terminator": parts[4]})
    day, region, service = parts[1:4] if len(parts) == 5 else ("", "", "")
    return Claim(
        parts[0],
        day,
        region,
        service,
        at,
        signed_headers,
        signature,
        payload,
        session_token,
        expires_s,
        flaw,
    )

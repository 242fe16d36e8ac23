"""Verify AWS Signature Version 4: does the claimed signature follow from this request, this secret and this moment?

Rules of this file: pure. Time comes in as an argument; the only state is the `SigningKeys` that the caller owns. What a request
claims is read in `sigv4_claims`; how a refusal is told, in the words of each family of services, is in `sigv4_errors`.

Source: IAM User Guide, "Create a signed AWS API request"; S3 API Reference, "Authenticating Requests (AWS Signature Version 4)".
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import quote

from lambdad.wire import sigv4_claims
from lambdad.wire.sigv4_claims import Claim

SKEW_S = 300
S3_SKEW_S = 900
S3_FAMILY = frozenset({"s3", "s3express", "s3-outposts", "s3-object-lambda"})
"""Signing names whose paths are encoded once and never normalised."""

_LITERAL_PAYLOADS = frozenset(
    {
        sigv4_claims.UNSIGNED_PAYLOAD,
        sigv4_claims.STREAMING_SIGNED,
        sigv4_claims.STREAMING_SIGNED_TRAILER,
        sigv4_claims.STREAMING_UNSIGNED_TRAILER,
    }
)
_PLAIN_PATH = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9_.~-]*)*/?").fullmatch  # no escape, empty or dot segment
_HASH = re.compile(r"[0-9a-f]{64}").fullmatch
_REGION = re.compile(r"[a-z0-9-]{1,40}").fullmatch
_SPACES = re.compile(r"[ \t]+")
_ESCAPE_OR_RESERVED = re.compile(r"%[0-9A-Fa-f]{2}|[^A-Za-z0-9_.~/-]")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")


class Reason(StrEnum):
    """Why a request is refused."""

    NO_SIGNATURE = "the request carries no signature"
    FLAWED = "the claim cannot be read"  # see Claim.flaw
    UNKNOWN_KEY = "nobody issued this access key"
    TOKEN_INVALID = "the session token does not belong to the access key"
    TOKEN_EXPIRED = "the session token is past its time"
    SCOPE_DAY = "the credential's date is not the signature's"
    SCOPE_REGION = "the credential's region is none"
    HOST_NOT_SIGNED = "Host is not signed"
    HEADERS_NOT_SIGNED = "x-amz-* headers are not signed"  # facts: names
    EXPIRED = "signed too long ago"  # facts: now_s, limit_s
    NOT_YET = "signed in the future"  # facts: now_s, limit_s
    PAYLOAD_ABSENT = "x-amz-content-sha256 is required"
    PAYLOAD_INVALID = "x-amz-content-sha256 is neither hash nor known literal"
    MISMATCH = "another signature was expected"  # facts: canonical_request, string_to_sign
    PAYLOAD_MISMATCH = "the body is not the one that was signed"  # facts: computed


class Refused(Exception):
    """The request is not taken as its claimed signer's."""

    def __init__(self, reason: Reason, claim: Claim | None = None, **facts: str | int) -> None:
        super().__init__(str(reason))
        self.reason = reason
        self.claim = claim
        self.facts = facts


class Verified(NamedTuple):
    """What a signature proved, and what the chunks of its body are to be verified with.

    Args:
        path: the path that the signature covers; serve this one. It differs from the request's own where the signer normalised it.
        payload: the claim's payload, e.g. STREAMING-AWS4-HMAC-SHA256-PAYLOAD.
    """

    path: str
    payload: str
    at: str
    scope: str
    signature: str
    signing_key: bytes


class SigningKeys:
    """The derived keys used last, by secret, day, region and service. Deriving one takes four HMACs."""

    def __init__(self, size: int = 1024) -> None:
        self._size = size
        self._keys: OrderedDict[tuple[str, str, str, str], bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, secret: str, day: str, region: str, service: str) -> bytes:
        """Return the signing key, from memory or derived."""
        wanted = (secret, day, region, service)
        key = self._keys.get(wanted)
        if key is not None:
            self._keys.move_to_end(wanted)
            return key
        key = derive_key(secret, day, region, service)
        self._keys[wanted] = key
        if len(self._keys) > self._size:
            self._keys.popitem(last=False)
        return key


def derive_key(secret: str, day: str, region: str, service: str) -> bytes:
    """Return the key that signs one day's requests to one service in one region."""
    key = f"AWS4{secret}".encode()
    for part in (day, region, service, sigv4_claims.TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def verify(
    claim: Claim,
    method: str,
    path: str,
    query: str,
    headers: Mapping[str, str],
    body_sha256: str,
    secret: str,
    now_s: float,
    keys: SigningKeys,
) -> Verified:
    """
    Prove that the holder of `secret` signed this request.

    Args:
        path: raw, as in the request line, without the query. Like `query` and the headers' values, one character per byte
            received (latin-1).
        headers: names in lower case; repeated ones joined by commas.
        body_sha256: hex; read only if `claim.needs_body_hash`, may be "" otherwise.
        now_s: Unix time.

    Raises:
        Refused: it is not so; the reason says why. The order of checks is: form, scope, signed headers, time,
            signature, body.
    """
    if claim.flaw is not None:
        raise Refused(Reason.FLAWED, claim)
    is_s3 = claim.service in S3_FAMILY
    _check_scope(claim)
    payload = _payload_hash(claim, body_sha256, is_s3=is_s3)
    canonical_headers = _signed_headers(claim, headers)
    _check_time(claim, now_s, is_s3=is_s3)
    key = keys.get(secret, claim.day, claim.region, claim.service)
    tail = f"{canonical_headers}\n{claim.signed_headers}\n{payload}"
    served_path = _matching_path(claim, f"{method}\n", path, query, tail, key, is_s3=is_s3)
    if payload == claim.payload and payload != body_sha256 and _HASH(payload):
        raise Refused(Reason.PAYLOAD_MISMATCH, claim, computed=body_sha256)
    return Verified(served_path, claim.payload, claim.at, claim.scope, claim.signature, key)


def _matching_path(claim: Claim, head: str, path: str, query: str, tail: str, key: bytes, *, is_s3: bool) -> str:
    """Return the path to serve, of the canonical form whose signature is the claimed one.

    Raises:
        Refused: there is none; the facts show the form nearest to what was sent.
    """
    claimed = claim.signature.encode("latin-1", "replace")
    scope = claim.scope
    shown: dict[str, str | int] = {"canonical_request": "", "string_to_sign": ""}
    try:
        for canonical_path, served_path, canonical_query in _forms(path, query, is_s3=is_s3, presigned=claim.is_presigned):
            request = f"{head}{canonical_path}\n{canonical_query}\n{tail}"
            hashed = hashlib.sha256(request.encode("latin-1")).hexdigest()
            signable = f"AWS4-HMAC-SHA256\n{claim.at}\n{scope}\n{hashed}"
            expected = hmac.digest(key, signable.encode(), "sha256").hex().encode()
            if hmac.compare_digest(expected, claimed):
                return served_path
            shown = shown if shown["canonical_request"] else {"canonical_request": request, "string_to_sign": signable}
    except UnicodeEncodeError:
        pass  # characters that no byte of a request decodes to
    raise Refused(Reason.MISMATCH, claim, **shown)


def _check_scope(claim: Claim) -> None:
    if claim.at[:8] != claim.day:
        raise Refused(Reason.SCOPE_DAY, claim)
    if not is_region(claim.region):
        raise Refused(Reason.SCOPE_REGION, claim)


def is_region(text: str) -> bool:
    """Say whether a credential scope's region can be one: "us-east-1", "aws-global", and names of one's own."""
    return _REGION(text) is not None


def _signed_headers(claim: Claim, headers: Mapping[str, str]) -> str:
    """Return the canonical headers, each line ended by a newline, after making sure that enough is signed."""
    names = claim.signed_headers.split(";")
    lines = []
    for name in names:
        value = headers.get(name)
        if value is None:
            raise Refused(Reason.MISMATCH, claim, canonical_request="", string_to_sign="")
        if "  " in value or "\t" in value or value[:1] == " " or value[-1:] == " ":
            value = _SPACES.sub(" ", value).strip(" ")
        lines.append(f"{name}:{value}\n")
    if "host" not in names:
        raise Refused(Reason.HOST_NOT_SIGNED, claim)
    unsigned = [name for name in headers if name[:6] == "x-amz-" and name not in names]
    if unsigned:
        raise Refused(Reason.HEADERS_NOT_SIGNED, claim, names=", ".join(sorted(unsigned)))
    return "".join(lines)


def _check_time(claim: Claim, now_s: float, *, is_s3: bool) -> None:
    signed_s = unix_time(claim.at)
    if signed_s is None:
        raise Refused(Reason.FLAWED, claim._replace(flaw=sigv4_claims.Flaw(sigv4_claims.Problem.DATE)))
    skew_s = S3_SKEW_S if is_s3 else SKEW_S
    lifetime_s = skew_s if claim.expires_s is None else claim.expires_s
    if now_s > signed_s + lifetime_s:
        raise Refused(Reason.EXPIRED, claim, now_s=int(now_s), limit_s=lifetime_s)
    if now_s < signed_s - skew_s:
        raise Refused(Reason.NOT_YET, claim, now_s=int(now_s), limit_s=skew_s)


def unix_time(at: str) -> int | None:
    """Return the Unix time of `at`, which has the form "20260102T030405Z"; None if there is no such moment."""
    midnight_s = _midnight_s(at[:8])
    hour, minute, second = int(at[9:11]), int(at[11:13]), int(at[13:15])
    if midnight_s is None or hour > 23 or minute > 59 or second > 59:
        return None
    return midnight_s + hour * 3600 + minute * 60 + second


@lru_cache(maxsize=64)
def _midnight_s(day: str) -> int | None:
    try:
        return int(datetime(int(day[:4]), int(day[4:6]), int(day[6:8]), tzinfo=UTC).timestamp())
    except ValueError:
        return None


def _payload_hash(claim: Claim, body_sha256: str, *, is_s3: bool) -> str:
    """Return what stands for the body in the canonical request."""
    payload = claim.payload
    if not payload:
        if is_s3:
            raise Refused(Reason.PAYLOAD_ABSENT, claim)
        return body_sha256
    if payload not in _LITERAL_PAYLOADS and not _HASH(payload):
        raise Refused(Reason.PAYLOAD_INVALID, claim)
    return payload


def _forms(path: str, query: str, *, is_s3: bool, presigned: bool) -> Iterator[tuple[str, str, str]]:
    """
    Yield the canonical forms that a conforming signer may have used: (canonical path, path to serve, canonical query).

    Signers differ in whether they normalise before they encode, so more than one form is honest. Each stands for one request only:
    a form that drops segments yields the shortened path as the one to serve.
    """
    queries = [""] if not query else _canonical_queries(query, presigned=presigned)
    for canonical_path, served_path in _canonical_paths(path, is_s3=is_s3):
        for canonical_query in queries:
            yield canonical_path, served_path, canonical_query


def _canonical_paths(path: str, *, is_s3: bool) -> list[tuple[str, str]]:
    if _PLAIN_PATH(path) and path:
        return [(path, path)]
    if is_s3:
        normal = _normal_escapes(path) or "/"
        return [(path, path)] if normal == path else [(path, path), (normal, path)]
    forms = [(_encoded(path), path)]
    normal = _without_dot_segments(path)
    if normal != path:
        forms.append((_encoded(normal), normal))
    return forms


def _encoded(path: str) -> str:
    return quote(path, safe="/~", encoding="latin-1")


def _without_dot_segments(path: str) -> str:
    """Return the path without empty, "." and ".." segments (RFC 3986, section 5.2.4, and AWS's rule on double slashes)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment and segment != ".":
            kept.append(segment)
    return "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")


def _canonical_queries(query: str, *, presigned: bool) -> list[str]:
    """Return the query sorted, as it was sent and, if that differs, with every escape in its normal form."""
    pairs = []
    for part in query.split("&"):
        name, _, value = part.partition("=")
        if presigned and _normal_escapes(name) == "X-Amz-Signature":
            continue
        pairs.append((name, value))
    as_sent = "&".join(f"{name}={value}" for name, value in sorted(pairs))
    normal_pairs = [(_normal_escapes(name, slash="%2F"), _normal_escapes(value, slash="%2F")) for name, value in pairs if name or value]
    normal = "&".join(f"{name}={value}" for name, value in sorted(normal_pairs))
    return [as_sent] if normal == as_sent else [as_sent, normal]


def _normal_escapes(text: str, *, slash: str = "/") -> str:
    """Return `text` with unreserved characters bare and all others as upper-case escapes; a "+" in a query is a space."""

    def normal(found: re.Match[str]) -> str:
        token = found[0]
        if len(token) == 3:
            character = chr(int(token[1:], 16))
            return character if character in _UNRESERVED else token.upper()
        if token == "+" and slash != "/":
            return "%20"
        return f"%{ord(token):02X}"

    normal_text = _ESCAPE_OR_RESERVED.sub(normal, text)
    return normal_text if slash == "/" else normal_text.replace("/", slash)

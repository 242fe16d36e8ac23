"""Say who calls: the account, region and principal of a request, proven wherever the access key is one that is known here."""

import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple
from urllib.parse import urlsplit

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.model.errors import AwsError
from lambdad.model.ids import AccountId, Region
from lambdad.server.ports import AccessKey, Credentials
from lambdad.wire import sigv2, sigv4, sigv4_claims
from lambdad.wire.http import Request
from lambdad.wire.sigv4 import Reason, Refused, SigningKeys, Verified
from lambdad.wire.sigv4_claims import Claim, Problem

DEFAULT_ACCOUNT = AccountId("000000000000")
DEFAULT_REGION = Region("us-east-1")

_LOOPBACK = re.compile(r"127\.\d{1,3}\.\d{1,3}\.\d{1,3}")
_HASHED_IN_THREAD_BYTES = 256 * 1024  # takes about 0.2 ms; more would be felt by the requests beside it


class Mode(StrEnum):
    """OPEN takes any credential, or none, at its word; a known key must have the right signature all the same. IAM takes only known
    keys."""

    OPEN = "open"
    IAM = "iam"


class Identity(NamedTuple):
    """Who calls. `verified` is what his signature proved; None in open mode, where nobody can verify an unknown key."""

    account: AccountId
    region: Region
    principal_arn: str
    verified: Verified | None


class Authenticator:
    """Turns claims into identities.

    Args:
        now_ms: the true wall clock, whatever the services' clock says: clients sign with theirs.
    """

    def __init__(self, credentials: Credentials, mode: Mode, now_ms: NowMs) -> None:
        self._credentials = credentials
        self._mode = mode
        self._now_ms = now_ms
        self._signing_keys = SigningKeys()

    async def authenticate(
        self, claim: Claim | None, request: Request, host_region: str = "", *, is_streamed: bool = False, bucket: str = ""
    ) -> Identity:
        """
        Return who calls.

        Args:
            bucket: what the host name names, for S3's older signature.
            is_streamed: the body is yet to come; whoever reads it proves that it has the hash that the signature covers.
            claim: what the request says of its signer; None if it is not signed.
            host_region: the region that the host name gives, for requests whose credential gives none.

        Raises:
            Refused: the caller is not who he says, or nobody knows him and the mode is IAM.
            AwsError: AccessDeniedException, it is sent by a web page of another host and proves nothing.
        """
        key = self._known_key(claim)
        if claim is None or key is None:
            _refuse_foreign_pages(request.headers.get("origin"))
            return _unproven(claim, host_region)
        if claim.flaw is not None and claim.flaw.problem is Problem.SIGNATURE_V2 and claim.flaw.facts:
            path = f"/{bucket}{request.path}" if bucket else request.path
            sigv2.verify(claim, request.method, path, request.query, request.headers, key.secret, self._now_ms() / 1000)
            return Identity(key.account, Region(host_region) if host_region else DEFAULT_REGION, key.principal_arn, None)
        body_sha256 = ""
        if is_streamed:
            body_sha256 = claim.payload
        elif claim.needs_body_hash:
            if len(request.body) > _HASHED_IN_THREAD_BYTES:
                body_sha256 = await threads.run(_sha256, request.body)
            else:
                body_sha256 = _sha256(request.body)
        verified = sigv4.verify(
            claim,
            request.method,
            request.path,
            request.query,
            request.headers,
            body_sha256,
            key.secret,
            self._now_ms() / 1000,
            self._signing_keys,
        )
        return Identity(key.account, Region(claim.region), key.principal_arn, verified)

    def anonymous(self, host_region: str = "") -> Identity:
        """Return who calls where nobody says: the one account's root in open mode, by name only; whoever serves him asks for more."""
        return _unproven(None, host_region)

    def authenticate_form(self, fields: Mapping[str, str], headers: Mapping[str, str], host_region: str = "") -> Identity:
        """
        Return who has signed the policy in a browser's form.

        Args:
            fields: of the form, names in lower case.

        Raises:
            Refused: he is not who the form says, or nobody knows him and the mode is IAM.
            AwsError: InvalidArgument, a part of the signature is missing.

        Source: S3 API Reference, "Authenticating requests in browser-based uploads using POST".
        """
        claim = _claim_of_form(fields) if "policy" in fields else None
        key = self._known_key(claim)
        if claim is None or key is None:
            _refuse_foreign_pages(headers.get("origin"))
            return _unproven(claim, host_region)
        policy = fields["policy"].encode()
        if not claim.day:
            expected = sigv2.sign(key.secret, policy)
        else:
            signing_key = self._signing_keys.get(key.secret, claim.day, claim.region, claim.service)
            expected = hmac.digest(signing_key, policy, "sha256").hex()
        if not hmac.compare_digest(expected.encode(), claim.signature.encode("utf-8", "replace")):
            raise Refused(Reason.MISMATCH, claim, canonical_request="", string_to_sign=fields["policy"])
        return Identity(key.account, Region(claim.region or host_region or DEFAULT_REGION), key.principal_arn, None)

    def _known_key(self, claim: Claim | None) -> AccessKey | None:
        """Return the key to verify with; None if nobody verifies."""
        key = None if claim is None else self._credentials.find(claim.access_key_id, claim.session_token)
        if key is None:
            if self._mode is Mode.IAM:
                raise Refused(Reason.NO_SIGNATURE if claim is None else _why_unknown(claim), claim)
            return None
        assert claim is not None, "a key is found by a claim"
        if not hmac.compare_digest((key.session_token or "").encode(), (claim.session_token or "").encode()):
            raise Refused(Reason.TOKEN_INVALID, claim)
        if key.expires_at_ms is not None and self._now_ms() >= key.expires_at_ms:
            raise Refused(Reason.TOKEN_EXPIRED, claim)
        return key


def _claim_of_form(fields: Mapping[str, str]) -> Claim:
    """Read who says to have signed a form; a signature of version 2, which boto3 makes by default in us-east-1, has no day."""
    if "awsaccesskeyid" in fields and "signature" in fields and "x-amz-credential" not in fields:
        return Claim(fields["awsaccesskeyid"], signature=fields["signature"], session_token=fields.get("x-amz-security-token"))
    for name in ("X-Amz-Signature", "X-Amz-Credential", "X-Amz-Algorithm", "X-Amz-Date"):
        if not fields.get(name.lower()):
            message = f"Bucket POST must contain a field named '{name}'.  If it is specified, please check the order of the fields."
            raise AwsError("InvalidArgument", message, members={"ArgumentName": name, "ArgumentValue": ""})
    parts = fields["x-amz-credential"].split("/")
    if len(parts) != 5 or fields["x-amz-algorithm"] != sigv4_claims.ALGORITHM:
        raise AwsError("InvalidArgument", "The form's credential is malformed.", members={"ArgumentName": "X-Amz-Credential"})
    return Claim(
        parts[0],
        parts[1],
        parts[2],
        parts[3],
        fields["x-amz-date"],
        "",
        fields["x-amz-signature"],
        sigv4_claims.UNSIGNED_PAYLOAD,
        fields.get("x-amz-security-token"),
    )


def _refuse_foreign_pages(origin: str | None) -> None:
    """
    Refuse what a page of another host has a browser on this machine send: nothing else in such a request shows who is behind it.

    Args:
        origin: the Origin header, e.g. "http://localhost:3000"; programs that are no browsers send none.

    Source: RFC 6454, section 7.
    """
    if origin is None:
        return
    host = urlsplit(origin).hostname or ""
    if host in ("localhost", "::1") or host.endswith(".localhost") or _LOOPBACK.fullmatch(host):
        return
    raise AwsError("AccessDeniedException", "Web pages of other hosts may not call lambdad without a signature that it knows.", status=403)


def _why_unknown(claim: Claim) -> Reason:
    """A claim that names no key is malformed before it is unknown."""
    if claim.flaw is not None and not claim.access_key_id:
        return Reason.FLAWED
    return Reason.UNKNOWN_KEY


def _unproven(claim: Claim | None, host_region: str) -> Identity:
    """Take a request at its word: twelve digits as an access key id name the account."""
    account, region = DEFAULT_ACCOUNT, Region(host_region) if host_region else DEFAULT_REGION
    if claim is not None:
        if len(claim.access_key_id) == 12 and claim.access_key_id.isascii() and claim.access_key_id.isdigit():
            account = AccountId(claim.access_key_id)
        if claim.region:
            if not sigv4.is_region(claim.region):
                raise Refused(Reason.SCOPE_REGION, claim)
            region = Region(claim.region)
    return Identity(account, region, f"arn:aws:iam::{account}:root", None)


def _sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()

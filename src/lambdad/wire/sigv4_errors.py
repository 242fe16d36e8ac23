"""Tell a refused signature in AWS's words. Each family of services has its own codes, texts and statuses for the same refusal.

Source: IAM API Reference, "Common Errors"; S3 API Reference, "Error responses"; texts as the services print them.
"""

from datetime import UTC, datetime
from enum import StrEnum

from lambdad.model.errors import AwsError
from lambdad.wire import sigv4
from lambdad.wire.sigv4 import Reason, Refused
from lambdad.wire.sigv4_claims import Claim, Flaw, Problem


class Family(StrEnum):
    """Who answers: services alike in how they tell that a signature is wrong."""

    S3 = "s3"
    QUERY = "query"  # Query, EC2 and REST-XML other than S3: short codes, 403
    JSON = "json"  # JSON 1.0, 1.1 and CBOR: long codes, 400
    REST_JSON = "rest-json"  # long codes, 403


MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your AWS Secret Access Key "
    "and signing method. Consult the service documentation for details."
)
S3_MISMATCH = "The request signature we calculated does not match the signature you provided. Check your key and signing method."
UNKNOWN = "The security token included in the request is invalid."

_SHORT_CODES = {
    "MissingAuthenticationTokenException": "MissingAuthenticationToken",
    "IncompleteSignatureException": "IncompleteSignature",
    "InvalidSignatureException": "SignatureDoesNotMatch",
    "UnrecognizedClientException": "InvalidClientTokenId",
    "ExpiredTokenException": "ExpiredToken",
}


def error_for(refused: Refused, family: Family) -> AwsError:
    """Return what the caller is told."""
    if family is Family.S3:
        return _s3(refused)
    code, message = _code_and_message(refused)
    status = 400 if family is Family.JSON or code == "IncompleteSignatureException" else 403
    if family is Family.QUERY:
        if refused.reason is Reason.NO_SIGNATURE:
            message = "Request is missing Authentication Token"
        code = _SHORT_CODES[code]
    return AwsError(code, message, status=status)


def _code_and_message(refused: Refused) -> tuple[str, str]:
    """Return code and message as the JSON services write them."""
    claim = refused.claim
    match refused.reason:
        case Reason.NO_SIGNATURE:
            return "MissingAuthenticationTokenException", "Missing Authentication Token"
        case Reason.UNKNOWN_KEY | Reason.TOKEN_INVALID:
            return "UnrecognizedClientException", UNKNOWN
        case Reason.TOKEN_EXPIRED:
            return "ExpiredTokenException", "The security token included in the request is expired"
    assert claim is not None, "the reasons below speak of a claim"
    if refused.reason is Reason.FLAWED:
        assert claim.flaw is not None, "a flawed claim says how"
        return _flaw(claim.flaw)
    return "InvalidSignatureException", _signature_message(refused, claim)


def _signature_message(refused: Refused, claim: Claim) -> str:
    match refused.reason:
        case Reason.SCOPE_DAY:
            return (
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
                f"'{claim.day}' != '{claim.at[:8]}', from '{claim.at}'."
            )
        case Reason.SCOPE_REGION:
            return "Credential should be scoped to a valid region. "
        case Reason.HOST_NOT_SIGNED:
            return "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization."
        case Reason.HEADERS_NOT_SIGNED:
            return f"There were headers present in the request which were not signed: {refused.facts['names']}"
        case Reason.EXPIRED | Reason.NOT_YET:
            return _time_message(refused, claim)
    return MISMATCH


def _time_message(refused: Refused, claim: Claim) -> str:
    """Say e.g. "Signature expired: 20260102T030000Z is now earlier than 20260102T030500Z (20260102T031000Z - 5 min.)"."""
    now_s, limit_s = int(refused.facts["now_s"]), int(refused.facts["limit_s"])
    window = f"{limit_s // 60} min." if limit_s % 60 == 0 else f"{limit_s} s."
    now = _basic(now_s)
    if refused.reason is Reason.EXPIRED:
        return f"Signature expired: {claim.at} is now earlier than {_basic(now_s - limit_s)} ({now} - {window})"
    return f"Signature not yet current: {claim.at} is still later than {_basic(now_s + limit_s)} ({now} + {window})"


def _basic(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y%m%dT%H%M%SZ")


def _extended(unix_s: int) -> str:
    return datetime.fromtimestamp(unix_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _flaw(flaw: Flaw) -> tuple[str, str]:
    facts = flaw.facts
    match flaw.problem:
        case Problem.NOT_PAIRS:
            message = f"'{facts['part']}' not a valid key=value pair (missing equal-sign) in Authorization header: '{facts['header']}'."
        case Problem.MISSING if "header" in facts:
            names = facts["missing"].split(",")
            message = " ".join(f"Authorization header requires '{name}' parameter." for name in names)
            message += f" Authorization={facts['header'].partition(' ')[0]}"
        case Problem.MISSING:
            names = facts["missing"].split(",")
            message = " ".join(f"AWS query-string parameters must include 'X-Amz-{name}'." for name in names)
        case Problem.DATE:
            message = (
                "Date must be in ISO-8601 'basic format'. Authorization header requires existence of either a "
                "'X-Amz-Date' or a 'Date' header."
            )
        case Problem.CREDENTIAL:
            message = (
                f"Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term, got '{facts['credential']}'"
            )
        case Problem.TERMINATOR:
            text = f"Credential should be scoped with a valid terminator: 'aws4_request', not '{facts['terminator']}'."
            return "InvalidSignatureException", text
        case Problem.ALGORITHM:
            message = f"Unsupported AWS 'algorithm': '{facts['algorithm']}'."
        case Problem.SIGNATURE_V2:
            message = "Signature version 2 is not supported. Please use AWS4-HMAC-SHA256."
        case Problem.TWO_MECHANISMS:
            message = "Request must not carry both an Authorization header and a presigned query."
        case Problem.EXPIRES:
            message = f"X-Amz-Expires must be a number of seconds from 1 to 604800, got '{facts['expires']}'."
    return "IncompleteSignatureException", message


def _s3(refused: Refused) -> AwsError:
    claim = refused.claim
    match refused.reason:
        case Reason.NO_SIGNATURE:
            return AwsError("AccessDenied", "Access Denied", status=403)
        case Reason.UNKNOWN_KEY:
            members = {} if claim is None else {"AWSAccessKeyId": claim.access_key_id}
            message = "The AWS Access Key Id you provided does not exist in our records."
            return AwsError("InvalidAccessKeyId", message, status=403, members=members)
        case Reason.TOKEN_INVALID:
            return AwsError("InvalidToken", "The provided token is malformed or otherwise invalid.")
        case Reason.TOKEN_EXPIRED:
            return AwsError("ExpiredToken", "The provided token has expired.")
    assert claim is not None, "the reasons below speak of a claim"
    match refused.reason:
        case Reason.FLAWED:
            assert claim.flaw is not None, "a flawed claim says how"
            return _s3_flaw(claim.flaw, presigned=claim.is_presigned)
        case Reason.SCOPE_DAY:
            text = f'invalid credential date "{claim.day}". This date is not the same as X-Amz-Date: "{claim.at[:8]}".'
            return _s3_malformed(text, presigned=claim.is_presigned)
        case Reason.SCOPE_REGION:
            return _s3_malformed(f"the region '{claim.region}' is wrong", presigned=claim.is_presigned)
        case Reason.HOST_NOT_SIGNED:
            return _s3_unsigned("host")
        case Reason.HEADERS_NOT_SIGNED:
            return _s3_unsigned(str(refused.facts["names"]))
        case Reason.EXPIRED | Reason.NOT_YET:
            return _s3_time(refused, claim)
        case Reason.PAYLOAD_ABSENT:
            return AwsError("InvalidRequest", "Missing required header for this request: x-amz-content-sha256")
        case Reason.PAYLOAD_INVALID:
            text = (
                "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER, "
                "STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value."
            )
            members = {"ArgumentName": "x-amz-content-sha256", "ArgumentValue": claim.payload}
            return AwsError("InvalidArgument", text, members=members)
        case Reason.PAYLOAD_MISMATCH:
            text = "The provided 'x-amz-content-sha256' header does not match what was computed."
            members = {
                "ClientComputedContentSHA256": claim.payload,
                "S3ComputedContentSHA256": str(refused.facts["computed"]),
            }
            return AwsError("XAmzContentSHA256Mismatch", text, members=members)
    return _s3_mismatch(refused, claim)


def _s3_mismatch(refused: Refused, claim: Claim) -> AwsError:
    canonical, signable = str(refused.facts["canonical_request"]), str(refused.facts["string_to_sign"])
    members = {
        "AWSAccessKeyId": claim.access_key_id,
        "StringToSign": signable,
        "SignatureProvided": claim.signature,
        "StringToSignBytes": signable.encode("latin-1", "replace").hex(" "),
        "CanonicalRequest": canonical,
        "CanonicalRequestBytes": canonical.encode("latin-1", "replace").hex(" "),
    }
    return AwsError("SignatureDoesNotMatch", S3_MISMATCH, status=403, members=members)


def _s3_unsigned(names: str) -> AwsError:
    message = "There were headers present in the request which were not signed"
    return AwsError("AccessDenied", message, status=403, members={"HeadersNotSigned": names})


def _s3_time(refused: Refused, claim: Claim) -> AwsError:
    now_s = int(refused.facts["now_s"])
    signed_s = sigv4.unix_time(claim.at) or 0
    if not claim.is_presigned:
        members = {
            "RequestTime": claim.at,
            "ServerTime": _extended(now_s),
            "MaxAllowedSkewMilliseconds": str(sigv4.S3_SKEW_S * 1000),
        }
        message = "The difference between the request time and the current time is too large."
        return AwsError("RequestTimeTooSkewed", message, status=403, members=members)
    if refused.reason is Reason.NOT_YET:
        return AwsError("AccessDenied", "Request is not yet valid", status=403, members={"ServerTime": _extended(now_s)})
    members = {
        "X-Amz-Expires": str(claim.expires_s),
        "Expires": _extended(signed_s + (claim.expires_s or 0)),
        "ServerTime": _extended(now_s),
    }
    return AwsError("AccessDenied", "Request has expired", status=403, members=members)


def _s3_malformed(text: str, *, presigned: bool) -> AwsError:
    if presigned:
        message = f"Error parsing the X-Amz-Credential parameter; {text}"
        return AwsError("AuthorizationQueryParametersError", message)
    return AwsError("AuthorizationHeaderMalformed", f"The authorization header is malformed; {text}")


def _s3_flaw(flaw: Flaw, *, presigned: bool) -> AwsError:
    facts = flaw.facts
    match flaw.problem:
        case Problem.MISSING if presigned:
            message = (
                "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, "
                "X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
            )
            return AwsError("AuthorizationQueryParametersError", message)
        case Problem.MISSING | Problem.NOT_PAIRS:
            text = "the authorization header requires three components: Credential, SignedHeaders, and Signature."
            return _s3_malformed(text, presigned=False)
        case Problem.CREDENTIAL:
            text = 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
            return _s3_malformed(text, presigned=presigned)
        case Problem.TERMINATOR:
            text = f'incorrect terminal "{facts["terminator"]}". This endpoint uses "aws4_request".'
            return _s3_malformed(text, presigned=presigned)
        case Problem.DATE if presigned:
            message = "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\""
            return AwsError("AuthorizationQueryParametersError", message)
        case Problem.DATE:
            message = "AWS authentication requires a valid Date or x-amz-date header"
            return AwsError("AccessDenied", message, status=403)
        case Problem.EXPIRES:
            return AwsError("AuthorizationQueryParametersError", _s3_expires(facts["expires"]))
        case Problem.ALGORITHM if presigned:
            message = 'X-Amz-Algorithm only supports "AWS4-HMAC-SHA256"'
            return AwsError("AuthorizationQueryParametersError", message)
        case Problem.TWO_MECHANISMS:
            message = (
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string "
                "parameter or the Authorization header should be specified"
            )
            return AwsError("InvalidArgument", message)
        case Problem.SIGNATURE_V2:
            message = "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."
            return AwsError("InvalidRequest", message)
    return AwsError("InvalidArgument", "Unsupported Authorization Type")


def _s3_expires(expires: str) -> str:
    digits = expires.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        return "X-Amz-Expires should be a number"
    if expires.startswith("-"):
        return "X-Amz-Expires must be non-negative"
    return "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than 604800 seconds"

"""Refusals in the words of each family of services."""

import pytest

from lambdad.wire import sigv4_errors
from lambdad.wire.sigv4 import Reason, Refused
from lambdad.wire.sigv4_claims import Claim, Flaw, Problem
from lambdad.wire.sigv4_errors import Family

AT = "20260102T030405Z"
CLAIM = Claim("AKID", "20260102", "eu-west-1", "lambda", AT, "host", "0" * 64)
PRESIGNED = CLAIM._replace(service="s3", expires_s=60)
NOW_S = 1767323045 + 600  # ten minutes after AT
FACTS = {
    Reason.EXPIRED: {"now_s": NOW_S, "limit_s": 300},
    Reason.NOT_YET: {"now_s": NOW_S - 1200, "limit_s": 300},
    Reason.HEADERS_NOT_SIGNED: {"names": "x-amz-acl"},
    Reason.MISMATCH: {"canonical_request": "GET\n/", "string_to_sign": "AWS4"},
    Reason.PAYLOAD_MISMATCH: {"computed": "1" * 64},
}
EXPIRED_TEXT = "Signature expired: 20260102T030405Z is now earlier than 20260102T030905Z (20260102T031405Z - 5 min.)"
EARLY_TEXT = "Signature not yet current: 20260102T030405Z is still later than 20260102T025905Z (20260102T025405Z + 5 min.)"


def told(reason, family, claim=CLAIM):
    error = sigv4_errors.error_for(Refused(reason, claim, **FACTS.get(reason, {})), family)
    return error.code, error.status, error.message


@pytest.mark.parametrize(
    ("reason", "code", "short_code", "message"),
    [
        (Reason.UNKNOWN_KEY, "UnrecognizedClientException", "InvalidClientTokenId", sigv4_errors.UNKNOWN),
        (Reason.TOKEN_INVALID, "UnrecognizedClientException", "InvalidClientTokenId", sigv4_errors.UNKNOWN),
        (Reason.MISMATCH, "InvalidSignatureException", "SignatureDoesNotMatch", sigv4_errors.MISMATCH),
        (Reason.PAYLOAD_MISMATCH, "InvalidSignatureException", "SignatureDoesNotMatch", sigv4_errors.MISMATCH),
        (Reason.EXPIRED, "InvalidSignatureException", "SignatureDoesNotMatch", EXPIRED_TEXT),
        (Reason.NOT_YET, "InvalidSignatureException", "SignatureDoesNotMatch", EARLY_TEXT),
        (
            Reason.TOKEN_EXPIRED,
            "ExpiredTokenException",
            "ExpiredToken",
            "The security token included in the request is expired",
        ),
    ],
    ids=lambda value: value.name if isinstance(value, Reason) else "",
)
def test_families_other_than_s3(reason, code, short_code, message):
    """JSON services say 400, REST-JSON 403, and Query services use short codes with 403."""
    assert told(reason, Family.JSON) == (code, 400, message)
    assert told(reason, Family.REST_JSON) == (code, 403, message)
    assert told(reason, Family.QUERY) == (short_code, 403, message)


def test_no_signature():
    """Each family asks for a signature in its own words."""
    assert told(Reason.NO_SIGNATURE, Family.JSON, None)[:2] == ("MissingAuthenticationTokenException", 400)
    assert told(Reason.NO_SIGNATURE, Family.REST_JSON, None) == (
        "MissingAuthenticationTokenException",
        403,
        "Missing Authentication Token",
    )
    assert told(Reason.NO_SIGNATURE, Family.QUERY, None) == (
        "MissingAuthenticationToken",
        403,
        "Request is missing Authentication Token",
    )
    assert told(Reason.NO_SIGNATURE, Family.S3, None) == ("AccessDenied", 403, "Access Denied")


@pytest.mark.parametrize(
    ("reason", "claim", "code", "status", "members"),
    [
        (Reason.UNKNOWN_KEY, CLAIM, "InvalidAccessKeyId", 403, {"AWSAccessKeyId"}),
        (
            Reason.MISMATCH,
            CLAIM,
            "SignatureDoesNotMatch",
            403,
            {
                "AWSAccessKeyId",
                "StringToSign",
                "SignatureProvided",
                "StringToSignBytes",
                "CanonicalRequest",
                "CanonicalRequestBytes",
            },
        ),
        (Reason.EXPIRED, CLAIM, "RequestTimeTooSkewed", 403, {"RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds"}),
        (Reason.NOT_YET, CLAIM, "RequestTimeTooSkewed", 403, {"RequestTime", "ServerTime", "MaxAllowedSkewMilliseconds"}),
        (Reason.EXPIRED, PRESIGNED, "AccessDenied", 403, {"X-Amz-Expires", "Expires", "ServerTime"}),
        (Reason.HEADERS_NOT_SIGNED, CLAIM, "AccessDenied", 403, {"HeadersNotSigned"}),
        (
            Reason.PAYLOAD_MISMATCH,
            CLAIM,
            "XAmzContentSHA256Mismatch",
            400,
            {"ClientComputedContentSHA256", "S3ComputedContentSHA256"},
        ),
        (Reason.PAYLOAD_ABSENT, CLAIM, "InvalidRequest", 400, set()),
        (Reason.PAYLOAD_INVALID, CLAIM, "InvalidArgument", 400, {"ArgumentName", "ArgumentValue"}),
        (Reason.TOKEN_INVALID, CLAIM, "InvalidToken", 400, set()),
        (Reason.TOKEN_EXPIRED, CLAIM, "ExpiredToken", 400, set()),
        (Reason.SCOPE_DAY, CLAIM, "AuthorizationHeaderMalformed", 400, set()),
        (Reason.SCOPE_REGION, PRESIGNED, "AuthorizationQueryParametersError", 400, set()),
    ],
)
def test_s3(reason, claim, code, status, members):
    """S3 has codes, statuses and further members of its own."""
    error = sigv4_errors.error_for(Refused(reason, claim, **FACTS.get(reason, {})), Family.S3)
    assert (error.code, error.status, set(error.members)) == (code, status, members)


@pytest.mark.parametrize("family", Family)
@pytest.mark.parametrize("claim", [CLAIM, PRESIGNED], ids=["header", "presigned"])
def test_every_reason_and_problem_is_told(family, claim):
    """There is no refusal that a family has no words for."""
    refusals = [Refused(reason, claim, **FACTS.get(reason, {})) for reason in Reason if reason is not Reason.FLAWED]
    names = ("algorithm", "part", "missing", "credential", "terminator", "expires")
    for problem in Problem:
        for expires in ("-1", "x", "604801"):
            facts = {**dict.fromkeys(names, "x"), "expires": expires}
            for more in ({}, {"header": "AWS4-HMAC-SHA256 x"}) if problem is not Problem.NOT_PAIRS else ({"header": "x"},):
                refusals.append(Refused(Reason.FLAWED, claim._replace(flaw=Flaw(problem, facts | more))))
    for refusal in refusals:
        error = sigv4_errors.error_for(refusal, family)
        assert error.code and error.message and error.status in (400, 403)


def test_malformed_header():
    """The parts that are missing are named, one sentence each."""
    flaw = Flaw(Problem.MISSING, {"missing": "Credential,Signature", "header": "AWS4-HMAC-SHA256 x=y"})
    assert told(Reason.FLAWED, Family.REST_JSON, CLAIM._replace(flaw=flaw)) == (
        "IncompleteSignatureException",
        400,
        "Authorization header requires 'Credential' parameter. Authorization header requires 'Signature' parameter. "
        "Authorization=AWS4-HMAC-SHA256",
    )

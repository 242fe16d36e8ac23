"""Reading what a request says about its signer, whole or in part."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lambdad.wire import sigv4_claims
from lambdad.wire.sigv4_claims import Problem

SIGNATURE = "0" * 64
CREDENTIAL = "AKID/20260102/eu-west-1/lambda/aws4_request"
HEADER = f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}, SignedHeaders=host;x-amz-date, Signature={SIGNATURE}"
DATE = {"x-amz-date": "20260102T030405Z"}
QUERY = (
    "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKID%2F20260102%2Feu-west-1%2Fs3%2Faws4_request"
    f"&X-Amz-Date=20260102T030405Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature={SIGNATURE}"
)


def test_header():
    """The usual header gives the whole claim."""
    claim = sigv4_claims.read("", {"authorization": HEADER, **DATE, "x-amz-security-token": "t"})
    assert claim.flaw is None
    assert claim[:6] == ("AKID", "20260102", "eu-west-1", "lambda", "20260102T030405Z", "host;x-amz-date")
    assert (claim.session_token, claim.is_presigned, claim.needs_body_hash) == ("t", False, True)


@pytest.mark.parametrize(
    "header",
    [
        f"AWS4-HMAC-SHA256 Credential={CREDENTIAL},SignedHeaders=host;x-amz-date,Signature={SIGNATURE}",
        f"AWS4-HMAC-SHA256 Signature={SIGNATURE},  SignedHeaders=host;x-amz-date,   Credential={CREDENTIAL}",
    ],
)
def test_header_in_other_spellings(header):
    """Order and spaces between the parts do not matter."""
    assert sigv4_claims.read("", {"authorization": header, **DATE}) == sigv4_claims.read("", {"authorization": HEADER, **DATE})


def test_presigned():
    """A presigned S3 query gives the whole claim and leaves the body out."""
    claim = sigv4_claims.read(QUERY, {})
    assert claim.flaw is None
    assert (claim.access_key_id, claim.service, claim.expires_s, claim.payload) == ("AKID", "s3", 60, "UNSIGNED-PAYLOAD")
    assert not claim.needs_body_hash


def test_presigned_sts_without_lifetime():
    """Services other than S3 take a presigned request without X-Amz-Expires as good for fifteen minutes."""
    claim = sigv4_claims.read(QUERY.replace("&X-Amz-Expires=60", "").replace("%2Fs3", "%2Fsts"), {})
    assert (claim.flaw, claim.expires_s, claim.payload) == (None, 900, "")


@pytest.mark.parametrize("date", ["Fri, 02 Jan 2026 03:04:05 GMT", "20260102T030405Z"])
def test_date_header_stands_in(date):
    """Without X-Amz-Date the Date header says when."""
    assert sigv4_claims.read("", {"authorization": HEADER, "date": date}).at == "20260102T030405Z"


@pytest.mark.parametrize(
    ("query", "headers"),
    [("", {}), ("a=b", {}), ("", {"authorization": "Bearer abc"}), ("", {"authorization": "Basic abc"}), ("x=X-Amz-", {})],
)
def test_unsigned(query, headers):
    """What carries no AWS signature makes no claim."""
    assert sigv4_claims.read(query, headers) is None


@pytest.mark.parametrize(
    ("query", "headers", "problem"),
    [
        ("", {"authorization": "AWS AKID:sig"}, Problem.SIGNATURE_V2),
        ("AWSAccessKeyId=AKID&Signature=x&Expires=1", {}, Problem.SIGNATURE_V2),
        ("", {"authorization": HEADER}, Problem.DATE),
        ("", {"authorization": HEADER, "x-amz-date": "yesterday"}, Problem.DATE),
        ("", {"authorization": HEADER, "x-amz-date": "2026٠102T030405Z"}, Problem.DATE),
        (QUERY, {"authorization": HEADER, **DATE}, Problem.TWO_MECHANISMS),
        ("", {"authorization": "AWS4-HMAC-SHA256 nonsense", **DATE}, Problem.NOT_PAIRS),
        ("", {"authorization": f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}", **DATE}, Problem.MISSING),
        ("", {"authorization": HEADER.replace("HMAC-SHA256", "ECDSA-P256-SHA256"), **DATE}, Problem.ALGORITHM),
        ("", {"authorization": HEADER.replace("/lambda", ""), **DATE}, Problem.CREDENTIAL),
        ("", {"authorization": HEADER.replace("aws4_request", "aws5"), **DATE}, Problem.TERMINATOR),
        (QUERY.replace("Expires=60", "Expires=0"), {}, Problem.EXPIRES),
        (QUERY.replace("Expires=60", "Expires=604801"), {}, Problem.EXPIRES),
        (QUERY.replace("Expires=60", "Expires=000000000060"), {}, Problem.EXPIRES),
        (QUERY.replace("&X-Amz-Expires=60", ""), {}, Problem.MISSING),
        (QUERY.replace("T030405Z", ""), {}, Problem.DATE),
        (QUERY.replace("X-Amz-SignedHeaders=host&", ""), {}, Problem.MISSING),
    ],
)
def test_flawed(query, headers, problem):
    """A claim that cannot be verified says why, and still names its access key."""
    claim = sigv4_claims.read(query, headers)
    assert claim.flaw.problem is problem
    assert claim.access_key_id == ("AKID" if problem is not Problem.NOT_PAIRS else "")


@settings(max_examples=50, deadline=None)
@given(
    query=st.text(max_size=60) | st.text(max_size=40).map(lambda text: f"X-Amz-Algorithm={text}&X-Amz-Date={text}"),
    authorization=st.text(max_size=60) | st.text(max_size=60).map(lambda text: f"AWS4-HMAC-SHA256 {text}"),
)
def test_garbage_is_read_without_raising(query, authorization):
    """Whatever strangers send is read."""
    sigv4_claims.read(query, {"authorization": authorization, "x-amz-date": authorization})
    sigv4_claims.read(query, {})

"""What botocore's own signers sign is accepted; what was changed on the way is not."""

import hashlib
from urllib.parse import quote, unquote, urlsplit

import pytest
from botocore.auth import S3SigV4Auth, S3SigV4QueryAuth, SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lambdad.wire import sigv4, sigv4_claims
from lambdad.wire.sigv4 import Reason, Refused, SigningKeys, Verified

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
CREDENTIALS = Credentials("AKIDEXAMPLE", SECRET)
TEMPORARY = Credentials("ASIAEXAMPLE", SECRET, "token/with+odd=characters")
SIGNERS = {
    "header": SigV4Auth,
    "presigned": SigV4QueryAuth,
    "s3 header": S3SigV4Auth,
    "s3 presigned": S3SigV4QueryAuth,
}

# Segments as a client builds them: any text, percent-encoded; some signers leave more characters bare than others.
segments = st.text(st.characters(codec="utf-8"), max_size=8).map(lambda text: quote(text, safe="~"))
bare_segments = st.text("abcXYZ019-._~!$&'()*,;=:@+", max_size=8)
paths = st.lists(segments | bare_segments, max_size=4).map(lambda parts: "/" + "/".join(parts))
names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(lambda name: not name.startswith("X-Amz-"))
queries = st.lists(st.tuples(names, st.text(st.characters(codec="utf-8"), max_size=8)), max_size=4, unique_by=lambda p: p[0])
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=20)
headers = st.dictionaries(st.sampled_from(["X-Amz-Meta-A", "Content-Type", "X-Amz-Target", "X-Custom"]), header_values)
bodies = st.binary(max_size=40)


class Signed:
    """A request as the server receives it."""

    def __init__(self, kind, method="GET", path="/", query=(), headers=None, body=b"", credentials=CREDENTIALS, scheme="http"):
        service = "s3" if kind.startswith("s3") else "lambda"
        text = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in query)
        url = f"{scheme}://example.com:4566{path}" + (f"?{text}" if text else "")
        request = AWSRequest(method=method, url=url, data=body, headers=headers or {})
        request.context = {}
        SIGNERS[kind](credentials, service, "eu-west-1").add_auth(request)
        parts = urlsplit(request.url)
        self.method, self.path, self.query, self.body = method, parts.path, parts.query, body
        self.headers = {"host": "example.com:4566", "user-agent": "test"}
        self.headers |= {name.lower(): value.strip() for name, value in request.headers.items()}
        self.at_s = sigv4.unix_time(self.claim().at)

    def claim(self):
        return sigv4_claims.read(self.query, self.headers)

    def verify(self, now_s=None, secret=SECRET):
        claim = self.claim()
        now_s = self.at_s if now_s is None else now_s
        body_sha256 = hashlib.sha256(self.body).hexdigest()
        return sigv4.verify(claim, self.method, self.path, self.query, self.headers, body_sha256, secret, now_s, SigningKeys())


def refusal(signed, **arguments):
    with pytest.raises(Refused) as raised:
        signed.verify(**arguments)
    return raised.value.reason


@pytest.mark.parametrize("kind", SIGNERS)
@pytest.mark.parametrize("credentials", [CREDENTIALS, TEMPORARY], ids=["long-term", "temporary"])
@settings(max_examples=25, deadline=None)
@given(method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]), path=paths, query=queries, headers=headers, body=bodies)
def test_what_botocore_signs_is_accepted(kind, credentials, method, path, query, headers, body):
    """Any path, query, headers and body that botocore signs verify, and the verified path is the one it addressed."""
    if kind.endswith("presigned"):
        body = b""  # botocore moves a presigned request's body into its query
    signed = Signed(kind, method, path, query, headers, body, credentials)
    verified = signed.verify()
    assert isinstance(verified, Verified)
    if kind.startswith("s3"):
        assert verified.path == signed.path
    assert signed.claim().session_token == credentials.token


@pytest.mark.parametrize("kind", SIGNERS)
@settings(max_examples=25, deadline=None)
@given(path=paths, query=queries, headers=headers, body=bodies.filter(bool), data=st.data())
def test_a_changed_byte_is_refused(kind, path, query, headers, body, data):
    """Changing one byte of method, path, query, a signed header or the body makes the verifier refuse, or means the same."""
    if kind.endswith("presigned"):
        body = b""
    signed = Signed(kind, "PUT", path, query, headers, body)
    before = meaning(signed, signed.verify().path)
    parts = ["method", "path", "header", *(["query"] if signed.query else []), *(["body"] if body else [])]
    match data.draw(st.sampled_from(parts)):
        case "method":
            signed.method = changed(data, signed.method)
        case "path":
            signed.path = "/" + changed(data, signed.path[1:] or "a")
        case "query":
            signed.query = changed(data, signed.query)
        case "header":
            name = data.draw(st.sampled_from(signed.claim().signed_headers.split(";")))
            assume(signed.headers[name])
            signed.headers[name] = changed(data, signed.headers[name])
            assume(" ".join(signed.headers[name].split()) != before[2][name])
        case "body":
            signed.body = bytes([signed.body[0] ^ data.draw(st.integers(1, 255))]) + signed.body[1:]
    try:
        claim = signed.claim()
        verified = signed.verify() if claim is not None else None
    except Refused:
        return
    assert verified is None or meaning(signed, verified.path) == before


def changed(data, text):
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(min_codepoint=33, max_codepoint=126).filter(lambda c: c != text[at]))
    return text[:at] + other + text[at + 1 :]


def meaning(signed, path):
    """What a server makes of a request: decoded path and query, signed headers, body."""
    pairs = sorted(
        tuple(unquote(side, "latin-1") for side in pair.partition("=")[::2]) for pair in signed.query.replace("+", " ").split("&")
    )
    signed_headers = {name: " ".join(signed.headers.get(name, "").split()) for name in signed.claim().signed_headers.split(";")}
    return signed.method, [unquote(part, "latin-1") for part in path.split("/")], signed_headers, pairs, signed.body


@pytest.mark.parametrize("kind", SIGNERS)
def test_another_secret_is_refused(kind):
    """The secret decides."""
    assert refusal(Signed(kind), secret="other") == Reason.MISMATCH


def test_normalised_path_is_the_one_served():
    """A signer that normalises signs the short path, so the short path is what the server must serve."""
    signed = Signed("header", path="/a//b/./c/../d/")
    assert signed.verify().path == "/a/b/d/"


def test_path_signed_without_normalising_is_accepted():
    """Signers of other languages encode twice but do not normalise."""
    signed = Signed("header", path="/a%20b/x")
    # The same request, had its path held a double slash that its signer kept.
    claim = signed.claim()
    key = sigv4.derive_key(SECRET, claim.day, claim.region, claim.service)
    signed_headers = f"host:{signed.headers['host']}\nx-amz-date:{claim.at}\n\nhost;x-amz-date"
    canonical = f"GET\n/a%2520b//x\n\n{signed_headers}\n{hashlib.sha256(b'').hexdigest()}"
    to_sign = f"AWS4-HMAC-SHA256\n{claim.at}\n{claim.scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    signature = sigv4.hmac.digest(key, to_sign.encode(), "sha256").hex()
    signed.headers["authorization"] = signed.headers["authorization"].replace(claim.signature, signature)
    signed.path = "/a%20b//x"
    assert signed.verify().path == "/a%20b//x"


def test_unnormalised_escapes_in_query_are_accepted():
    """A query whose escapes are written differently on the wire than in the canonical form still verifies."""
    signed = Signed("header", query=[("prefix", "a/b c"), ("z", "")])
    signed.query = "z&prefix=a/b+c"
    assert signed.verify().path == "/"


def test_unsigned_payload_over_https():
    """botocore's S3 presigner leaves the body out; any body goes."""
    signed = Signed("s3 presigned", "PUT")
    signed.body = b"anything"
    assert signed.verify().payload == "UNSIGNED-PAYLOAD"


@pytest.mark.parametrize(
    ("kind", "age_s", "reason"),
    [
        ("header", 300, None),
        ("header", 301, Reason.EXPIRED),
        ("header", -300, None),
        ("header", -301, Reason.NOT_YET),
        ("s3 header", 900, None),
        ("s3 header", 901, Reason.EXPIRED),
        ("s3 header", -901, Reason.NOT_YET),
        ("presigned", 3600, None),
        ("presigned", 3601, Reason.EXPIRED),
        ("s3 presigned", 3600, None),
        ("s3 presigned", 3601, Reason.EXPIRED),
        ("s3 presigned", -901, Reason.NOT_YET),
    ],
)
def test_clock_skew_and_expiry(kind, age_s, reason):
    """Five minutes for most services, fifteen for S3, the lifetime named for presigned requests."""
    signed = Signed(kind)
    now_s = signed.at_s + age_s
    if reason is None:
        signed.verify(now_s)
    else:
        assert refusal(signed, now_s=now_s) == reason


def test_host_must_be_signed():
    """A signature that any host could have received is refused."""
    signed = Signed("header")
    signed.headers["authorization"] = signed.headers["authorization"].replace("SignedHeaders=host;", "SignedHeaders=")
    assert refusal(signed) == Reason.HOST_NOT_SIGNED


@pytest.mark.parametrize("kind", SIGNERS)
def test_added_amz_headers_are_refused(kind):
    """An x-amz-* header added on the way is refused by name."""
    signed = Signed(kind)
    signed.headers["x-amz-acl"] = "public-read"
    assert refusal(signed) == Reason.HEADERS_NOT_SIGNED


def test_credential_date_must_be_the_signature_date():
    """A key of one day signs only that day's requests."""
    signed = Signed("header")
    claim = signed.claim()
    signed.headers["authorization"] = signed.headers["authorization"].replace(f"/{claim.day}/", "/20200101/")
    assert refusal(signed) == Reason.SCOPE_DAY


def test_s3_wants_a_payload_hash():
    """S3 refuses header-signed requests that do not say what stands for the body."""
    signed = Signed("s3 header")
    del signed.headers["x-amz-content-sha256"]
    assert refusal(signed) == Reason.PAYLOAD_ABSENT
    signed.headers["x-amz-content-sha256"] = "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    assert refusal(signed) == Reason.PAYLOAD_INVALID


def test_claimed_hash_must_be_the_bodys():
    """A signed hash that is not the body's is told apart from a wrong signature."""
    signed = Signed("s3 header", "PUT", body=b"one")
    signed.body = b"two"
    assert refusal(signed) == Reason.PAYLOAD_MISMATCH


@pytest.mark.parametrize("at", ["20261301T000000Z", "20260230T000000Z", "20260101T240000Z", "20260101T006000Z"])
def test_impossible_dates(at):
    """A well-formed date that no calendar has is refused as unreadable."""
    assert sigv4.unix_time(at) is None


def test_signing_keys_are_bounded_and_reused():
    """The least recently used key goes first."""
    keys = SigningKeys(size=2)
    first = keys.get("s", "20260101", "r", "a")
    keys.get("s", "20260101", "r", "b")
    assert keys.get("s", "20260101", "r", "a") is first
    keys.get("s", "20260101", "r", "c")
    assert len(keys) == 2
    assert keys.get("s", "20260101", "r", "a") is first


def test_characters_that_no_byte_decodes_to_are_refused():
    """Text outside latin-1 cannot come from a request and never verifies."""
    signed = Signed("header")
    signed.path = "/\u1234"
    assert refusal(signed) == Reason.MISMATCH

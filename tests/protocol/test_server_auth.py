"""Who calls, in open mode and in iam mode, by keys that are configured, derived or unknown."""

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lambdad.server.auth import Authenticator, Mode
from lambdad.server.credentials import ChainedCredentials, DerivedCredentials, StaticCredentials
from lambdad.server.ports import AccessKey
from lambdad.wire import sigv4, sigv4_claims
from lambdad.wire.http import Request
from lambdad.wire.sigv4 import Reason, Refused

ROOT = AccessKey(access_key_id="AKIAROOT", secret="root-secret", account="111111111111", principal_arn="arn:aws:iam::111111111111:root")
ROLE = "arn:aws:sts::222222222222:assumed-role/role/function"
DERIVED = DerivedCredentials(b"m" * 32)
KNOWN = ChainedCredentials(StaticCredentials([ROOT]), DERIVED)


def request_by(access_key_id, secret, token=None, region="eu-west-1", body=b""):
    """Return a request, its claim and when it was signed."""
    signed = AWSRequest("POST", "http://localhost:4566/2015-03-31/functions", data=body, headers={"Host": "localhost:4566"})
    signed.context = {}
    SigV4Auth(Credentials(access_key_id, secret, token), "lambda", region).add_auth(signed)
    headers = {name.lower(): value for name, value in signed.headers.items()}
    request = Request("POST", "/2015-03-31/functions", "", headers, body)
    claim = sigv4_claims.read("", headers)
    return request, claim, sigv4.unix_time(claim.at) * 1000


async def identify(mode, request, claim, now_ms, host_region=""):
    return await Authenticator(KNOWN, mode, lambda: now_ms).authenticate(claim, request, host_region)


async def refused(mode, request, claim, now_ms):
    with pytest.raises(Refused) as raised:
        await identify(mode, request, claim, now_ms)
    return raised.value.reason


@pytest.mark.parametrize("mode", Mode)
async def test_known_key_is_verified(mode):
    """A configured key's owner is proven in both modes, and so is that others are not he."""
    identity = await identify(mode, *request_by("AKIAROOT", "root-secret"))
    assert identity[:3] == ("111111111111", "eu-west-1", "arn:aws:iam::111111111111:root")
    assert identity.verified is not None
    assert await refused(mode, *request_by("AKIAROOT", "guess")) == Reason.MISMATCH


@pytest.mark.parametrize("mode", Mode)
async def test_large_bodies_are_hashed_too(mode):
    """A body that is hashed in a thread is verified like any other."""
    request, claim, now_ms = request_by("AKIAROOT", "root-secret", body=b"x" * 300_000)
    assert (await identify(mode, request, claim, now_ms)).verified is not None
    tampered = Request("POST", request.path, "", request.headers, b"y" * 300_000)
    assert await refused(mode, tampered, claim, now_ms) == Reason.MISMATCH


@pytest.mark.parametrize(
    ("access_key_id", "account"), [("123456789012", "123456789012"), ("test", "000000000000"), ("AKIA12", "000000000000")]
)
async def test_open_mode_takes_unknown_keys_at_their_word(access_key_id, account):
    """Twelve digits name an account; any other unknown key is the default account's."""
    identity = await identify(Mode.OPEN, *request_by(access_key_id, "whatever"))
    assert identity == (account, "eu-west-1", f"arn:aws:iam::{account}:root", None)


async def test_open_mode_takes_unsigned_requests():
    """Nobody in particular is the default account, in the host's region if it names one."""
    request = Request("GET", "/", "", {}, b"")
    assert (await identify(Mode.OPEN, request, None, 0))[:2] == ("000000000000", "us-east-1")
    assert (await identify(Mode.OPEN, request, None, 0, "eu-west-1"))[:2] == ("000000000000", "eu-west-1")


async def test_iam_mode_refuses_strangers():
    """Unsigned requests and unknown keys are refused."""
    assert await refused(Mode.IAM, Request("GET", "/", "", {}, b""), None, 0) == Reason.NO_SIGNATURE
    assert await refused(Mode.IAM, *request_by("test", "test")) == Reason.UNKNOWN_KEY
    headers = {"authorization": "AWS4-HMAC-SHA256 nonsense"}
    request = Request("GET", "/", "", headers, b"")
    assert await refused(Mode.IAM, request, sigv4_claims.read("", headers), 0) == Reason.FLAWED


async def test_region_must_be_one():
    """A scope's region becomes part of keys and names, so it is checked in open mode as well."""
    assert await refused(Mode.OPEN, *request_by("test", "test", region="EU west")) == Reason.SCOPE_REGION


@pytest.mark.parametrize("mode", Mode)
async def test_temporary_credentials_prove_themselves(mode):
    """What one process mints, another with the same master key verifies, until it expires."""
    key = DerivedCredentials(b"m" * 32).mint("222222222222", ROLE, expires_at_ms=2_000_000_000_000)
    request, claim, now_ms = request_by(key.access_key_id, key.secret, key.session_token)
    assert (await identify(mode, request, claim, now_ms))[:3] == ("222222222222", "eu-west-1", ROLE)
    assert await refused(mode, request, claim, 2_000_000_000_000) == Reason.TOKEN_EXPIRED
    assert await refused(mode, *request_by(key.access_key_id, "guess", key.session_token)) == Reason.MISMATCH


async def test_token_belongs_to_its_key():
    """A token does not vouch for another key, nor a key without one of its own for a token."""
    one, other = (DERIVED.mint("222222222222", ROLE, 2_000_000_000_000) for _ in range(2))
    assert await refused(Mode.IAM, *request_by(one.access_key_id, one.secret, other.session_token)) == Reason.UNKNOWN_KEY
    assert await refused(Mode.IAM, *request_by(one.access_key_id, one.secret)) == Reason.UNKNOWN_KEY
    assert await refused(Mode.IAM, *request_by("AKIAROOT", "root-secret", "token")) == Reason.TOKEN_INVALID


def test_minted_keys_look_like_awss():
    """Key ids have AWS's form, differ, and tell nothing."""
    keys = [DERIVED.mint("222222222222", ROLE, 1) for _ in range(20)]
    assert len({key.access_key_id for key in keys}) == 20
    assert all(len(key.access_key_id) == 20 and key.access_key_id.startswith("ASIA") for key in keys)
    assert all(set(key.access_key_id[4:]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for key in keys)
    assert "secret" not in repr(keys[0]) and keys[0].secret not in repr(keys[0])


@pytest.mark.parametrize("part", range(2))
def test_forged_tokens_are_unknown(part):
    """A token with any character changed, another master key's, or garbage is nobody's."""
    key = DERIVED.mint("222222222222", ROLE, 2_000_000_000_000)
    token = key.session_token
    assert DERIVED.find(key.access_key_id, token) == key
    assert DerivedCredentials(b"n" * 32).find(key.access_key_id, token) is None
    at = len("lambdad1.") + 3 if part == 0 else token.rindex(".") + 3
    forged = token[:at] + ("A" if token[at] != "A" else "B") + token[at + 1 :]
    for other in (forged, "lambdad1.", "lambdad1.é.é", "lambdad1.a.b", "AQoDYXdz", None, "lambdad1." + "A" * 10_000):
        assert DERIVED.find(key.access_key_id, other) is None


def test_master_key_must_be_long():
    """A short master key could be guessed."""
    with pytest.raises(ValueError, match="32 bytes"):
        DerivedCredentials(b"short")

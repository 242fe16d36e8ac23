"""Access keys that are known from the start, and temporary ones that prove themselves.

A temporary credential is not stored anywhere. Its session token carries account, principal and end, sealed with the master key, and
its secret follows from the master key and what the token says. So a function's credentials stay good over a restart, and need no
memory for each environment.
"""

import base64
import binascii
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable

import orjson

from lambdad.model.ids import AccountId
from lambdad.server.ports import AccessKey, Credentials

TOKEN_PREFIX = "lambdad1."
_REMEMBERED = 4096
_TOKEN_CHARACTERS = 4096


class StaticCredentials:
    """Long-term keys, given once."""

    def __init__(self, keys: Iterable[AccessKey]) -> None:
        self._keys = {key.access_key_id: key for key in keys}

    def find(self, access_key_id: str, session_token: str | None) -> AccessKey | None:
        return self._keys.get(access_key_id)


class DerivedCredentials:
    """Temporary keys, made and recognised with nothing but a master key.

    Args:
        master_key: 32 secret bytes; whoever has them can be anybody.
        random_bytes: source of what makes an access key id unique.
    """

    def __init__(self, master_key: bytes, random_bytes: Callable[[int], bytes] = secrets.token_bytes) -> None:
        if len(master_key) < 32:
            raise ValueError("the master key must have at least 32 bytes")
        self._secret_key = hmac.digest(master_key, b"lambdad secret access key", "sha256")
        self._token_key = hmac.digest(master_key, b"lambdad session token", "sha256")
        self._random_bytes = random_bytes
        self._recent: OrderedDict[tuple[str, str], AccessKey] = OrderedDict()

    def mint(self, account: AccountId, principal_arn: str, expires_at_ms: int) -> AccessKey:
        """Issue a temporary credential for a principal, e.g. "arn:aws:sts::ACCOUNT:assumed-role/ROLE/FUNCTION"."""
        access_key_id = "ASIA" + base64.b32encode(self._random_bytes(10)).decode()
        content = orjson.dumps([account, principal_arn, expires_at_ms])
        token = f"{TOKEN_PREFIX}{_text(content)}.{_text(self._seal(access_key_id, content))}"
        return self._key(access_key_id, token, account, principal_arn, expires_at_ms)

    def find(self, access_key_id: str, session_token: str | None) -> AccessKey | None:
        if session_token is None or not session_token.startswith(TOKEN_PREFIX) or len(session_token) > _TOKEN_CHARACTERS:
            return None
        recent = self._recent.get((access_key_id, session_token))
        if recent is not None:
            self._recent.move_to_end((access_key_id, session_token))
            return recent
        key = self._open(access_key_id, session_token)
        if key is not None:
            self._recent[access_key_id, session_token] = key
            if len(self._recent) > _REMEMBERED:
                self._recent.popitem(last=False)
        return key

    def _open(self, access_key_id: str, token: str) -> AccessKey | None:
        content_text, _, seal_text = token.removeprefix(TOKEN_PREFIX).partition(".")
        content, seal = _bytes(content_text), _bytes(seal_text)
        if content is None or seal is None or not hmac.compare_digest(seal, self._seal(access_key_id, content)):
            return None
        account, principal_arn, expires_at_ms = orjson.loads(content)  # sealed, so it is what `mint` wrote
        return self._key(access_key_id, token, account, principal_arn, expires_at_ms)

    def _seal(self, access_key_id: str, content: bytes) -> bytes:
        return hmac.digest(self._token_key, access_key_id.encode("utf-8", "replace") + b"\0" + content, "sha256")

    def _key(self, access_key_id: str, token: str, account: AccountId, principal_arn: str, expires_at_ms: int) -> AccessKey:
        named = "\0".join((access_key_id, account, principal_arn)).encode()
        secret = base64.b64encode(hmac.digest(self._secret_key, named, "sha256")).decode()
        return AccessKey(
            access_key_id=access_key_id,
            secret=secret,
            account=account,
            principal_arn=principal_arn,
            session_token=token,
            expires_at_ms=expires_at_ms,
        )


class ChainedCredentials:
    """Several sources, asked in order."""

    def __init__(self, *sources: Credentials) -> None:
        self._sources = sources

    def find(self, access_key_id: str, session_token: str | None) -> AccessKey | None:
        for source in self._sources:
            key = source.find(access_key_id, session_token)
            if key is not None:
                return key
        return None


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def _bytes(text: str) -> bytes | None:
    try:
        return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, UnicodeEncodeError):
        return None

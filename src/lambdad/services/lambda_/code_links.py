"""Links to stored zips: what ``Code.Location`` and a layer's ``Content.Location`` are.

AWS gives a presigned S3 URL that works for ten minutes. Ours names our own endpoint, ``/_lambdad/code/<token>``, and the token
says which zip until when, under a message authentication code; nobody has to remember what was given out.
"""

import hmac
import re
from hashlib import sha256

from lambdad.model import limits

PATH = "/_lambdad/code/"

_TOKEN = re.compile(r"(?P<digest>[0-9a-f]{64})-(?P<expires_at_s>[0-9]{1,12})-(?P<mac>[0-9a-f]{64})")


class CodeLinks:
    """Make and check links.

    Args:
        key: secret, 32 bytes or more; links made under another key do not open.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def link(self, endpoint: str, code_sha256: str, now_ms: int) -> str:
        """Make a URL from which a stored zip can be fetched for ten minutes.

        Args:
            endpoint: ``http://127.0.0.1:4566``, as the caller reached us.
            code_sha256: of the zip, hex.
        """
        expires_at_s = now_ms // 1000 + limits.CODE_LINK_S
        return f"{endpoint}{PATH}{code_sha256}-{expires_at_s}-{self._mac(code_sha256, expires_at_s)}"

    def open_code(self, token: str, now_ms: int) -> str | None:
        """Give the blob (SHA-256, hex) that a token is for; None where it is forged, malformed or too old."""
        match = _TOKEN.fullmatch(token)
        if match is None:
            return None
        expires_at_s = int(match["expires_at_s"])
        is_ours = hmac.compare_digest(self._mac(match["digest"], expires_at_s), match["mac"])
        return match["digest"] if is_ours and now_ms < expires_at_s * 1000 else None

    def _mac(self, digest: str, expires_at_s: int) -> str:
        return hmac.new(self._key, f"code:{digest}:{expires_at_s}".encode(), sha256).hexdigest()

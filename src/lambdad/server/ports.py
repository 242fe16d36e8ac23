"""What the server asks of others."""

from dataclasses import dataclass, field
from typing import Protocol

from lambdad.model.ids import AccountId


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """
    A credential that lambdad issued or was told of.

    Args:
        principal_arn: whom it stands for, e.g. "arn:aws:sts::000000000000:assumed-role/role/function".
        session_token: sent along with each request of a temporary credential; None for a long-term one.
        expires_at_ms: Unix time; None means never.
    """

    access_key_id: str
    secret: str = field(repr=False)
    account: AccountId
    principal_arn: str
    session_token: str | None = field(default=None, repr=False)
    expires_at_ms: int | None = None


class Credentials(Protocol):
    """Where access keys are looked up. Called for each request, so it answers from memory."""

    def find(self, access_key_id: str, session_token: str | None) -> AccessKey | None:
        """Return the key, also when it is past its time, or None if nobody here issued it."""
        ...

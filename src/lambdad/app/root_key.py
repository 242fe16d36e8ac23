"""The access key of somebody who starts `--auth iam` without having named one: made once, kept where only he can read it."""

import json
import os
import secrets
from pathlib import Path

from lambdad.settings import AccessKey

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
ACCOUNT = "000000000000"


def load_or_make(path: Path) -> AccessKey:
    """
    Read the key, or make one at the first start.

    Raises:
        OSError: the file cannot be read or written.
        ValueError: it holds something else.
    """
    if not path.exists():
        key = {
            "access_key_id": "AKIA" + "".join(secrets.choice(_ALPHABET) for _ in range(16)),
            "secret_access_key": secrets.token_urlsafe(30),
            "account": ACCOUNT,
        }
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            json.dump(key, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    content = json.loads(path.read_text())
    try:
        return AccessKey(**content)
    except TypeError as error:
        raise ValueError(f"{path} is no access key: {error}") from error

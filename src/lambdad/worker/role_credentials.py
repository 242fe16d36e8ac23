"""Credentials of a function's role, as environments of versions with SnapStart ask for them.

Source: AWS SDKs and Tools Reference Guide, "Container credential provider".
"""

import datetime
import hmac
import json

from lambdad.wire import frames
from lambdad.worker import runtime_api


def answer(spec: frames.EnvironmentSpec, token: str, authorization: str) -> bytes:
    """
    Return an environment's credentials as its SDK reads them.

    Args:
        token: what the SDK was told to say; "" where credentials are in variables.
        authorization: what was said.

    Raises:
        NoSuchThing: there is no token.
        Forbidden: another one was said.
    """
    if not token:
        raise runtime_api.NoSuchThing
    if not hmac.compare_digest(token.encode(), authorization.encode("utf-8", "replace")):
        raise runtime_api.Forbidden
    until = datetime.datetime.fromtimestamp(spec.credentials_until_ms // 1000, datetime.UTC)
    body = {
        "AccessKeyId": spec.environment.get("AWS_ACCESS_KEY_ID", ""),
        "SecretAccessKey": spec.environment.get("AWS_SECRET_ACCESS_KEY", ""),
        "Token": spec.environment.get("AWS_SESSION_TOKEN", ""),
        "Expiration": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    return json.dumps(body).encode()

"""Receipt handles: which message, which of its receives, and until when. Opaque to clients, and good after a restart.

A handle ends with a keyed digest, so that no other queue's handle and no invented one is taken for one of this queue's.
"""

import binascii
import hashlib
import struct
from typing import Final, NamedTuple

from lambdad.services.sqs import errors

_PREFIX: Final = "AQEB"
_FIELDS: Final = struct.Struct(">QIQQ")
_DIGEST_BYTES: Final = 8


class Handle(NamedTuple):
    """What a handle says."""

    seq: int
    receives: int  # the message had been received as often, this time included
    received_at_ms: int
    until_ms: int  # the end of the visibility timeout as it was at the receive


def write(handle: Handle, secret: bytes) -> str:
    """Write a handle down for a client; ``secret`` is the queue's."""
    fields = _FIELDS.pack(*handle)
    digest = hashlib.blake2b(fields, digest_size=_DIGEST_BYTES, key=secret).digest()
    return _PREFIX + binascii.b2a_base64(fields + digest, newline=False).decode("ascii")


def read(text: str, secret: bytes) -> Handle:
    """
    Read what `write` has written.

    Raises:
        ReceiptHandleIsInvalid: it is not from there, or was written for another queue.
    """
    if not text.startswith(_PREFIX):
        raise errors.ReceiptHandleIsInvalid(text)
    try:
        data = binascii.a2b_base64(text[len(_PREFIX) :], strict_mode=True)
    except ValueError:
        raise errors.ReceiptHandleIsInvalid(text) from None
    fields, digest = data[: _FIELDS.size], data[_FIELDS.size :]
    if len(fields) != _FIELDS.size or digest != hashlib.blake2b(fields, digest_size=_DIGEST_BYTES, key=secret).digest():
        raise errors.ReceiptHandleIsInvalid(text)
    return Handle(*_FIELDS.unpack(fields))

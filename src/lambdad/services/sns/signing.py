"""The key that messages are signed with, made when the first one is, and kept in the database with its certificate.

The `cryptography` library is imported here and at first use only: it takes time and memory that a server without signed messages need
not spend.
"""

import base64
import datetime
import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from lambdad.kit import threads
from lambdad.kit.clock import NowMs
from lambdad.store.connection import Connection, Row
from lambdad.store.database import Database
from lambdad.store.queries import load_queries

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

queries = load_queries("lambdad.services.sns", "queries.sql")

KEY_BITS: Final = 2048
CERTIFICATE_DAYS: Final = 3650
SUBJECT: Final = "sns.amazonaws.com"


class Signer:
    """Signs texts, once `ready` has been waited for."""

    def __init__(self, database: Database, now_ms: NowMs) -> None:
        self._database = database
        self._now_ms = now_ms
        self._sign: Callable[[bytes, str], bytes] | None = None
        self.certificate = b""
        """The certificate, PEM; empty before `ready`."""

    async def ready(self) -> None:
        """Have the key: from memory, from the database, or made now. Several may wait at once; the first that is stored is everybody's."""
        if self._sign is not None:
            return
        row = await self._database.read(_get)
        if row is None:
            made = await threads.run(_make, self._now_ms())
            row = await self._database.write(lambda connection: _put(connection, *made))
        self._sign = await threads.run(_load, row.private_key)
        self.certificate = row.certificate

    @property
    def certificate_name(self) -> str:
        """The file name of the certificate in links; it changes with the certificate."""
        return f"SimpleNotificationService-{hashlib.sha256(self.certificate).hexdigest()[:32]}.pem"

    def sign(self, text: bytes, version: str) -> str:
        """
        Sign a text.

        Args:
            version: "1" for SHA1withRSA, "2" for SHA256withRSA.

        Returns:
            The signature in base64.
        """
        assert self._sign is not None, "`ready` comes first"
        return base64.b64encode(self._sign(text, version)).decode()


def _get(connection: Connection) -> Row | None:
    return connection.one(queries.get_signing_key)


def _put(connection: Connection, private_key: bytes, certificate: bytes) -> Row:
    connection.run(queries.put_signing_key, private_key=private_key, certificate=certificate)
    row = _get(connection)
    assert row is not None, "it was stored, now or before"
    return row


def _load(private_key: bytes) -> Callable[[bytes, str], bytes]:
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    key = serialization.load_der_private_key(private_key, password=None)
    assert isinstance(key, RSAPrivateKey), "no other is stored"
    algorithms = {"1": hashes.SHA1(), "2": hashes.SHA256()}  # AWS's version 1 is SHA-1, which verifiers expect
    scheme = padding.PKCS1v15()

    def sign(text: bytes, version: str) -> bytes:
        return key.sign(text, scheme, algorithms[version])

    return sign


def _make(now_ms: int) -> tuple[bytes, bytes]:
    """Return a private key as PKCS #8 in DER, and its certificate, signed by itself, in PEM."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
    der = key.private_bytes(serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return der, _certificate(key, now_ms)


def _certificate(key: "RSAPrivateKey", now_ms: int) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.x509.oid import NameOID

    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, SUBJECT)])
    begin = datetime.datetime.fromtimestamp(now_ms // 1000, datetime.UTC) - datetime.timedelta(days=1)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(begin)
    builder = builder.not_valid_after(begin + datetime.timedelta(days=CERTIFICATE_DAYS))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(SUBJECT)]), critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

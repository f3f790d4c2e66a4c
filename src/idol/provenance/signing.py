"""The signer: the user's own certificate, or one that this machine creates for itself at first use.

The latter is a chain of a root certificate, whose key is discarded, and one signing certificate of C2PA's
profile. Nobody vouches for it: it proves that a file is unchanged since signing, not who signed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from idol.assets import cache_folder
from idol.atomic_io import write_bytes
from idol.errors import UserError

ORGANIZATION = "self-signed by idol-diffusion"
"""Organization named by the certificates that are created here."""

_YEARS = 10
_DOCUMENT_SIGNING = x509.ObjectIdentifier("1.3.6.1.5.5.7.3.36")  # RFC 9336
_CURVES = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}


@dataclass(frozen=True)
class Signer:
    """A certificate chain, leaf first, and the leaf's private key.

    Attributes:
        chain: PEM certificates.
        key: PEM private key, PKCS #8, not encrypted.
        algorithm: C2PA's name of the signature algorithm: es256, es384, es512, ps256 or ed25519.
    """

    chain: bytes
    key: bytes
    algorithm: str

    def __repr__(self) -> str:
        """Return a text without the key, which must not appear in logs."""
        return f"Signer(algorithm={self.algorithm!r})"


def load_signer(certificate: Path, private_key: Path) -> Signer:
    """Load the user's own certificate.

    Args:
        certificate: PEM file of the signing certificate, followed by those that vouch for it.
        private_key: PEM file of its private key, without a passphrase.

    Raises:
        UserError: If one of them cannot be read or used, or they do not belong together.
    """
    chain, key_pem = _read("certificate", certificate), _read("private_key", private_key)
    try:
        leaf = x509.load_pem_x509_certificates(chain)[0]
    except ValueError as error:
        raise UserError(
            "certificate", f"{certificate} is no PEM certificate", "give a chain of PEM certificates"
        ) from error
    try:
        key = serialization.load_pem_private_key(key_pem, password=None)
    except TypeError as error:
        remedy = "give it without a passphrase (openssl pkcs8 -nocrypt)"
        raise UserError("private_key", f"{private_key} is encrypted", remedy) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserError(
            "private_key", f"{private_key} is no PEM private key", "give a PKCS #8 key"
        ) from error
    if key.public_key() != leaf.public_key():
        raise UserError(
            "private_key",
            f"{private_key} is not the key of {certificate}",
            "give the key of its first certificate",
        )
    if leaf.not_valid_after_utc < datetime.now(UTC):
        raise UserError("certificate", f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}", "renew it")
    return Signer(chain, _pem(key), _algorithm(key))


def local_signer() -> Signer:
    """Return the certificate of this machine and user from the cache folder; create it at first use.

    Raises:
        UserError: If the cache folder cannot be written.
    """
    path = cache_folder() / "provenance" / "signer.pem"  # one file, so that key and chain always match
    try:
        if path.is_file():
            kept = path.read_bytes()
            if x509.load_pem_x509_certificates(kept)[0].not_valid_after_utc > datetime.now(UTC):
                return _from_pem(kept)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_bytes(path, _make(), private=True)
        return _from_pem(path.read_bytes())
    except (OSError, ValueError) as error:
        remedy = "set IDOL_CACHE to a writable folder, or give a `certificate`"
        raise UserError(str(path), f"cannot be used ({error})", remedy) from error


def _read(argument: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(argument, f"{path} cannot be read ({error.strerror})", "give a PEM file") from error


def _algorithm(key: PrivateKeyTypes) -> str:
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in _CURVES:
        return _CURVES[key.curve.name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    if isinstance(key, rsa.RSAPrivateKey):
        return "ps256"
    raise UserError(
        "private_key", "C2PA cannot use this kind of key", "give P-256, P-384, P-521, Ed25519 or RSA"
    )


def _pem(key: PrivateKeyTypes) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _from_pem(both: bytes) -> Signer:
    certificates = x509.load_pem_x509_certificates(both)
    chain = b"".join(c.public_bytes(serialization.Encoding.PEM) for c in certificates)
    key = serialization.load_pem_private_key(both, password=None)
    return Signer(chain, _pem(key), _algorithm(key))


def _make() -> bytes:
    """Return PEM of a new key, its certificate and the root certificate."""
    root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    root_name, name = _name("root"), _name("signer")
    root = _certificate(root_name, root_name, root_key.public_key(), root_key, authority=True)
    leaf = _certificate(name, root_name, key.public_key(), root_key, authority=False)
    return _pem(key) + b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (leaf, root))


def _name(role: str) -> x509.Name:
    words = {NameOID.ORGANIZATION_NAME: ORGANIZATION, NameOID.COMMON_NAME: f"idol-diffusion {role}"}
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in words.items()])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public: ec.EllipticCurvePublicKey,
    signed_by: ec.EllipticCurvePrivateKey,
    authority: bool,
) -> x509.Certificate:
    """Return a certificate of C2PA's profile, which requires key usages and identifiers."""
    now = datetime.now(UTC)
    flags = ("key_encipherment", "data_encipherment", "key_agreement", "content_commitment")
    usage = x509.KeyUsage(
        digital_signature=not authority,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
        **dict.fromkeys(flags, False),
    )
    builder = (
        x509.CertificateBuilder(issuer, subject, public, x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))  # tolerates clocks that are behind
        .not_valid_after(now + timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )
    if not authority:
        purposes = [ExtendedKeyUsageOID.EMAIL_PROTECTION, _DOCUMENT_SIGNING]
        above = x509.AuthorityKeyIdentifier.from_issuer_public_key(signed_by.public_key())
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        builder = builder.add_extension(above, critical=False)
    return builder.sign(signed_by, hashes.SHA256())

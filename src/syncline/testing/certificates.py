"""Certificates for TLS tests: an authority, a server, a client, and an authority that signed nothing."""

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

__all__ = ["Certificates", "make_certificates"]

_VALID_FOR = timedelta(days=30)


@dataclass(frozen=True, kw_only=True)
class Certificates:
    """Paths of PEM files in one directory; keys are unencrypted and readable by their owner only."""

    ca: Path
    """The authority that signed `server_cert` and `client_cert`."""
    server_cert: Path
    server_key: Path
    client_cert: Path
    """Its common name is the user name given to `make_certificates`."""
    client_key: Path
    stranger_ca: Path
    """An authority that signed neither: a client that trusts only this one must refuse the server."""


def make_certificates(
    directory: Path, *, host: str | Sequence[str] = "127.0.0.1", user: str = "postgres"
) -> Certificates:
    """Write a fresh set into `directory` (created if missing) for a server at `host` (a name or an address, or
    several)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    directory.mkdir(parents=True, exist_ok=True)
    now = datetime.now(UTC)

    def name(text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    def key_to(path: Path) -> ec.EllipticCurvePrivateKey:
        key = ec.generate_private_key(ec.SECP256R1())
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return key

    def build(subject: str, issuer: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(name(subject))
            .issuer_name(name(issuer))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + _VALID_FOR)
        )

    def authority(text: str, stem: str) -> tuple[Path, ec.EllipticCurvePrivateKey]:
        key = key_to(directory / f"{stem}.key")
        certificate = (
            build(text, text, key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .sign(key, hashes.SHA256())
        )
        path = directory / f"{stem}.crt"
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return path, key

    ca_path, ca_key = authority("Syncline test authority", "ca")
    stranger_path, _ = authority("Syncline stranger authority", "stranger-ca")

    def leaf(subject: str, stem: str, alternatives: Sequence[x509.GeneralName]) -> tuple[Path, Path]:
        key_path = directory / f"{stem}.key"
        key = key_to(key_path)
        builder = build(subject, "Syncline test authority", key)
        if alternatives:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        path = directory / f"{stem}.crt"
        path.write_bytes(builder.sign(ca_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path, key_path

    def alternative(host: str) -> x509.GeneralName:
        try:
            return x509.IPAddress(ipaddress.ip_address(host))
        except ValueError:
            return x509.DNSName(host)

    hosts = [host] if isinstance(host, str) else list(host)
    server_cert, server_key = leaf(hosts[0], "server", [alternative(each) for each in hosts])
    client_cert, client_key = leaf(user, "client", [])
    return Certificates(
        ca=ca_path,
        server_cert=server_cert,
        server_key=server_key,
        client_cert=client_cert,
        client_key=client_key,
        stranger_ca=stranger_path,
    )

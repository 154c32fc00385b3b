"""Certificates: names, validity, and that TLS in its strictest form takes them."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from flashvisor.trust import certificates
from flashvisor.trust.certificates import Pair, Purpose

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 5, 1, tzinfo=UTC)
AUTHORITY = certificates.make_authority("Owner Ltd", NOW).opened()
SERVER = certificates.issue_server(AUTHORITY, "alpha", NOW, [IPv4Address("192.0.2.10")])
CLIENT = certificates.issue_client(AUTHORITY, "admin", NOW)


def handshake(directory: Path, server: Pair, client: Pair, ca: bytes, server_hostname: str) -> bytes:
    """Carries out a TLS handshake in memory, both sides strict (Python 3.13's default); returns the client's DER."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.verify_mode = ssl.CERT_REQUIRED
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    for context, pair, name in ((server_context, server, "server"), (client_context, client, "client")):
        context.verify_flags |= ssl.VERIFY_X509_STRICT
        context.load_verify_locations(cadata=ca.decode())
        path = directory / f"{name}.pem"
        path.write_bytes(pair.key_pem + pair.cert_pem)
        context.load_cert_chain(path)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server_side = server_context.wrap_bio(to_server, to_client, server_side=True)
    client_side = client_context.wrap_bio(to_client, to_server, server_hostname=server_hostname)
    for side in (client_side, server_side, client_side, server_side):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return server_side.getpeercert(binary_form=True) or b""


@pytest.mark.parametrize("name", ["alpha", "flashvisor", "192.0.2.10"])
def test_server_and_client_meet_under_every_name(tmp_path: Path, name: str) -> None:
    assert handshake(tmp_path, SERVER, CLIENT, AUTHORITY.cert_pem, name) == ssl.PEM_cert_to_DER_cert(
        CLIENT.cert_pem.decode()
    )


def test_another_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match="beta"):
        handshake(tmp_path, SERVER, CLIENT, AUTHORITY.cert_pem, "beta")


def test_a_server_cannot_pass_for_an_administrator(tmp_path: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unsupported certificate purpose|unsuitable"):
        handshake(tmp_path, SERVER, SERVER, AUTHORITY.cert_pem, "alpha")


def test_an_administrator_cannot_pass_for_a_server(tmp_path: Path) -> None:
    client = certificates.issue_client(AUTHORITY, "flashvisor", NOW)
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(tmp_path, client, CLIENT, AUTHORITY.cert_pem, "flashvisor")


def test_validity_holds_for_clocks_far_behind() -> None:
    for pair, years in ((AUTHORITY, 25), (SERVER, 10), (CLIENT, 10)):
        cert = x509.load_pem_x509_certificate(pair.cert_pem)
        assert cert.not_valid_before_utc == datetime(2000, 1, 1, tzinfo=UTC)
        assert cert.not_valid_after_utc.year == NOW.year + years
        assert certificates.not_after(pair.cert_pem) == cert.not_valid_after_utc


def test_names_are_deterministic_and_keys_are_not() -> None:
    again = certificates.issue_server(AUTHORITY, "alpha", NOW)
    assert certificates.subject(again.cert_pem) == certificates.subject(SERVER.cert_pem) == "CN=alpha,O=Owner Ltd"
    assert certificates.subject(AUTHORITY.cert_pem) == "CN=flashvisor owner CA,O=Owner Ltd"
    assert again.key_pem != SERVER.key_pem
    assert certificates.fingerprint(again.cert_pem) != certificates.fingerprint(SERVER.cert_pem)


def test_kinds_of_keys() -> None:
    key = serialization.load_pem_private_key(SERVER.key_pem, password=None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    assert key.curve.name == "secp256r1"
    signer = certificates.make_signer("flashvisor db", "Owner Ltd", Purpose.SECURE_BOOT, NOW)
    rsa_key = serialization.load_pem_private_key(signer.key_pem, password=None)
    assert isinstance(rsa_key, rsa.RSAPrivateKey)
    assert rsa_key.key_size == 2048

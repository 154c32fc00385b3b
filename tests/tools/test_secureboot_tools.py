"""The owner's Secure Boot variables against the tools that others use: openssl, sbvarsign, sbsiglist, virt-fw-vars."""

from __future__ import annotations

import struct
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError
from flashvisor.host.run import run
from flashvisor.host.virtfw import show
from flashvisor.lab.firmware import enrolled
from flashvisor.trust import certificates, secureboot
from flashvisor.trust.signatures import ATTRIBUTES, VENDORS

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

pytestmark = pytest.mark.tools

NOW = datetime(2026, 11, 24, 10, 30, 15, tzinfo=UTC)
TIME_SIZE, HEADER_SIZE = 16, 24  # bytes


def parts(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns time, SignedData and content of a payload."""
    (length,) = struct.unpack_from("<I", data, TIME_SIZE)
    return data[:TIME_SIZE], data[TIME_SIZE + HEADER_SIZE : TIME_SIZE + length], data[TIME_SIZE + length :]


def content_info(signed_data: bytes) -> bytes:
    """Wraps a SignedData as openssl wants it: SEQUENCE { OID signedData, [0] SignedData }."""
    oid = bytes.fromhex("06092a864886f70d010702")
    inside = b"\xa0\x82" + struct.pack(">H", len(signed_data)) + signed_data
    return b"\x30\x82" + struct.pack(">H", len(oid) + len(inside)) + oid + inside


def verify(tmp_path: Path, payload: bytes, certificate: bytes, name: str = "KEK") -> None:
    """Checks a write of a variable as UEFI 2.10, 8.2.2 has it, with openssl in the firmware's place."""
    time, signature, content = parts(payload)
    covered = name.encode("utf-16-le") + VENDORS[name].bytes_le + struct.pack("<I", ATTRIBUTES) + time + content
    (tmp_path / "covered").write_bytes(covered)
    (tmp_path / "signature").write_bytes(content_info(signature))
    (tmp_path / "cert.pem").write_bytes(certificate)
    words: list[str | Path] = [
        "-inform",
        "DER",
        "-in",
        tmp_path / "signature",
        "-content",
        tmp_path / "covered",
        "-binary",
    ]
    trust: list[str | Path] = ["-CAfile", tmp_path / "cert.pem", "-purpose", "any", "-out", tmp_path / "out"]
    run(["openssl", "cms", "-verify", *words, *trust])


def test_openssl_takes_the_signature_and_refuses_a_changed_one(keyring: Keyring, tmp_path: Path) -> None:
    payload = next(one for one in secureboot.enrolment(keyring, NOW) if one.name == "KEK")
    verify(tmp_path, payload.data, keyring.certificate("PK"))
    with pytest.raises(CommandFailedError):
        verify(tmp_path, payload.data[:-1] + bytes([payload.data[-1] ^ 1]), keyring.certificate("PK"))
    with pytest.raises(CommandFailedError):
        verify(tmp_path, b"\xe9" + payload.data[1:], keyring.certificate("PK"))


def test_sbvarsign_and_sbsiglist_write_the_same_but_for_the_time(keyring: Keyring, tmp_path: Path) -> None:
    (tmp_path / "kek.der").write_bytes(certificates.to_der(keyring.certificate("KEK")))
    guid = str(keyring.owner_guid)
    run(["sbsiglist", "--owner", guid, "--type", "x509", "--output", tmp_path / "kek.esl", tmp_path / "kek.der"])
    content = (tmp_path / "kek.esl").read_bytes()
    assert secureboot.contents(keyring)["KEK"] == content
    with keyring.unlocked("PK") as files:
        # Left out, --attr means APPEND_WRITE too.
        attributes = "NON_VOLATILE,BOOTSERVICE_ACCESS,RUNTIME_ACCESS"
        words: list[str | Path] = [
            "--attr",
            attributes,
            "--key",
            files.key,
            "--cert",
            files.cert,
            "--output",
            tmp_path / "kek.auth",
            "KEK",
        ]
        run(["sbvarsign", *words, tmp_path / "kek.esl"])
    theirs = (tmp_path / "kek.auth").read_bytes()
    verify(tmp_path, theirs, keyring.certificate("PK"))
    ours = secureboot.authenticated("KEK", content, keyring.signing("PK"), NOW).data
    assert ours[TIME_SIZE + 4 : TIME_SIZE + HEADER_SIZE] == theirs[TIME_SIZE + 4 : TIME_SIZE + HEADER_SIZE]
    assert parts(ours)[2] == parts(theirs)[2]


def test_a_virtual_servers_firmware_knows_the_owner(keyring: Keyring) -> None:
    with enrolled(keyring) as variables:
        shown, data = show(variables), variables.read_bytes()
    for name in ("PK", "KEK", "db"):
        assert f"CN=flashvisor {name}" in shown
    assert "Microsoft" not in shown
    assert "SecureBootEnable" in shown
    assert data.count(keyring.owner_guid.bytes_le) == 3

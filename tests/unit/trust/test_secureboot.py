"""Secure Boot's variables, byte by byte as UEFI 2.10 has them (8.2.2, 32.4.1)."""

from __future__ import annotations

import struct
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flashvisor.host import files
from flashvisor.trust import certificates, keystore, publickeys, secureboot
from flashvisor.trust.keyring import Keyring

if TYPE_CHECKING:
    from pathlib import Path

NOW = datetime(2026, 11, 24, 10, 30, 15, tzinfo=UTC)
SHA256_OID = bytes.fromhex("608648016503040201")


def split(data: bytes) -> tuple[bytes, bytes, bytes]:
    """Returns time, signature and content of a payload."""
    length, revision, kind = struct.unpack_from("<IHH", data, 16)
    assert (revision, kind) == (0x0200, 0x0EF1)
    assert uuid.UUID(bytes_le=data[24:40]) == uuid.UUID("4aafd29d-68df-49ee-8aa9-347d375665a7")
    return data[:16], data[40 : 16 + length], data[16 + length :]


def test_a_signature_list(keyring: Keyring) -> None:
    pem = keyring.certificate("db")
    data = secureboot.signature_list([pem], keyring.owner_guid)
    kind, size, header, entry = struct.unpack_from("<16sIII", data)
    assert uuid.UUID(bytes_le=kind) == uuid.UUID("a5c059a1-94e4-4aa7-87b5-ab155c2bf072")
    assert (size, header, entry) == (len(data), 0, len(data) - 28)
    assert uuid.UUID(bytes_le=data[28:44]) == keyring.owner_guid
    assert data[44:] == certificates.to_der(pem)


def test_enrolment_ends_with_the_platform_key(keyring: Keyring) -> None:
    payloads = secureboot.enrolment(keyring, NOW)
    assert [(one.name, str(one.guid)) for one in payloads] == [
        ("db", "d719b2cb-3d3a-4596-a3bc-dad00e67656f"),
        ("KEK", "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
        ("PK", "8be4df61-93ca-11d2-aa0d-00e098032b8c"),
    ]
    for one in payloads:
        time, signature, content = split(one.data)
        assert time == bytes.fromhex("ea07 0b 18 0a 1e 0f 00 00000000 0000 00 00")
        assert one.attributes == 0x27
        assert content == secureboot.contents(keyring)[one.name]
        # edk2 reads SHA-256's OID at byte 13 of a bare SignedData (AuthService.c, VerifyTimeBasedPayload).
        assert signature[13 : 13 + len(SHA256_OID)] == SHA256_OID
        assert signature[0] == 0x30
        assert int.from_bytes(signature[2:4], "big") + 4 == len(signature)


def test_release_is_an_empty_platform_key(keyring: Keyring) -> None:
    payload = secureboot.release(keyring, NOW)
    assert payload.name == "PK"
    assert split(payload.data)[2] == b""


def test_after_rotation_old_images_start_and_the_old_platform_key_vouches_for_the_new(
    keyring: Keyring, tmp_path: Path
) -> None:
    files.write_directory_once(tmp_path / "own", {keystore.STORE: keystore.encode(keyring.store)})
    assert secureboot.platform_key_update(keyring, NOW) is None
    new = Keyring.open(tmp_path / "own").rotate("db").rotate("KEK").rotate("PK")
    old = keyring.certificate("db")
    contents = secureboot.contents(new)
    assert certificates.to_der(old) in contents["db"]
    assert certificates.to_der(new.certificate("db")) in contents["db"]
    assert certificates.to_der(keyring.certificate("KEK")) not in contents["KEK"]
    update = secureboot.platform_key_update(new, NOW)
    assert update is not None
    _, signature, content = split(update.data)
    assert content == contents["PK"]
    assert certificates.to_der(keyring.certificate("PK")) in signature
    assert "PK.update.auth" in publickeys.export(new, NOW)


def test_what_is_exported_holds_no_secret(keyring: Keyring) -> None:
    exported = publickeys.export(keyring, NOW)
    assert {"ca.pem", "db.cer", "KEK.esl", "PK.auth", "tuf-root.pub"} <= set(exported)
    assert not any(b"PRIVATE" in data for data in exported.values())
    assert exported["db.auth"].endswith(exported["db.esl"])

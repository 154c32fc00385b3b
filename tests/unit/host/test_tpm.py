"""The TPM's commands, byte by byte, and its refusals."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import NoEventLogError, NoTpmError, TpmRefusedError
from flashvisor.host import tpm

if TYPE_CHECKING:
    from pathlib import Path


def answer(body: bytes, status: int = 0) -> bytes:
    return struct.pack(">HII", 0x8001, 10 + len(body), status) + body


def test_pcrs_are_read_eight_at_a_time_and_the_key_leaves_the_tpm() -> None:
    sent = []

    def transmit(command: bytes) -> bytes:
        sent.append(command)
        code = struct.unpack_from(">I", command, 6)[0]
        if code == tpm.PCR_READ:
            selection = command[10:]
            count = sum(byte.bit_count() for byte in selection[7:])
            return answer(bytes(4) + selection + struct.pack(">I", count) + (b"\0\x20" + bytes(32)) * count)
        if code == tpm.CREATE_PRIMARY:
            return answer(struct.pack(">II", 0x80000000, 99) + b"\0\x03key" + b"the rest")
        if code == tpm.QUOTE:
            return answer(struct.pack(">I", 8) + b"\0\x02qdsign" + b"session")
        return answer(b"")

    found = tpm.signed(transmit, b"nonce", tuple(range(10)))
    assert found == (b"qd", b"sign", b"key", (bytes(32),) * 10)
    assert [struct.unpack_from(">I", each, 6)[0] for each in sent] == [0x17E, 0x17E, 0x131, 0x158, 0x165]
    assert sent[0].hex() == "8001000000140000017e" + "00000001000b03ff0000"
    assert sent[1].hex() == "8001000000140000017e" + "00000001000b03000300"
    assert sent[2] == bytes.fromhex(
        "8002 00000041 00000131 4000000b 00000009 40000009 0000 01 0000 0004 00000000"
        "0018 0023 000b 00050472 0000 0010 0018 000b 0003 0010 0000 0000 0000 00000000"
    )
    assert sent[3] == bytes.fromhex(
        "8002 0000002e 00000158 80000000 00000009 40000009 0000 01 00000005 6e6f6e6365 0010 00000001 000b 03 ff0300"
    )
    assert sent[4] == bytes.fromhex("8001 0000000e 00000165 80000000")


def test_refusals_are_told_by_command_and_number() -> None:
    with pytest.raises(TpmRefusedError, match="refused command 0x17e with 0x100"):
        tpm.signed(lambda _: answer(b"", 0x100), b"n", (0,))
    with pytest.raises(TpmRefusedError, match="with 3 bytes"):
        tpm.signed(lambda _: b"abc", b"n", (0,))
    with pytest.raises(TpmRefusedError, match="0 of 1 PCRs"):
        tpm.signed(lambda command: answer(bytes(4) + command[10:] + bytes(4)), b"n", (0,))


def test_a_server_without_tpm_or_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoTpmError, match="No such file"):
        tpm.quote(b"n", (0,), device=tmp_path / "tpmrm0")
    device = tmp_path / "tpmrm0"
    device.touch()
    with pytest.raises(TpmRefusedError, match="with 0 bytes"):
        tpm.quote(b"n", (0,), device=device)
    monkeypatch.setattr(tpm, "signed", lambda *_: struct.unpack(">I", b""))
    with pytest.raises(TpmRefusedError, match="cut an answer short"):
        tpm.quote(b"n", (0,), device=device)
    monkeypatch.setattr(tpm, "signed", lambda *_: (b"", b"", b"", ()))
    with pytest.raises(NoEventLogError, match="No such file"):
        tpm.quote(b"n", (0,), device=device, log=tmp_path / "log")
    (tmp_path / "log").write_bytes(b"log")
    assert tpm.quote(b"n", (0,), device=device, log=tmp_path / "log").log == b"log"

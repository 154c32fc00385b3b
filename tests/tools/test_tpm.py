"""Our TPM commands against a real one in software (swtpm), as QEMU powers and speaks to it."""

from __future__ import annotations

import hashlib
import socket
import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import TpmRefusedError
from flashvisor.host import processes, sockets, swtpm, tpm
from flashvisor.trust import quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Transmit = Callable[[bytes], bytes]

pytestmark = pytest.mark.tools

LIMIT = 20.0  # seconds
CMD_INIT, CMD_SET_DATAFD = 0x2, 0x10  # swtpm_ioctls(3): big-endian numbers on the control channel
STARTUP_CLEAR = bytes.fromhex("80010000000c000001440000")
PCRS = (0, 1, 2, 3, 4, 5, 6, 7, 11, 12, 13)
NONCE = b"n" * 32


@contextmanager
def powered(directory: Path) -> Iterator[Transmit]:
    """A TPM with power, as firmware finds it."""
    mark = swtpm.start(directory)
    ours, theirs = socket.socketpair()
    ours.settimeout(LIMIT)
    try:
        with ours, theirs, sockets.connect(directory, swtpm.SOCKET, limit=LIMIT) as control:
            socket.send_fds(control, [struct.pack(">I", CMD_SET_DATAFD)], [theirs.fileno()])
            assert control.recv(4) == bytes(4)
            control.sendall(struct.pack(">II", CMD_INIT, 0))
            assert control.recv(4) == bytes(4)

            def transmit(command: bytes) -> bytes:
                ours.sendall(command)
                return ours.recv(tpm.ANSWER_LIMIT)

            yield transmit
    finally:
        if not processes.wait_for_end(mark, LIMIT):
            processes.stop(mark)


@contextmanager
def started(directory: Path) -> Iterator[Transmit]:
    with powered(directory) as transmit:
        assert transmit(STARTUP_CLEAR)[6:10] == bytes(4)
        yield transmit


def ask(transmit: Transmit, nonce: bytes = NONCE) -> tpm.Quote:
    return tpm.Quote(*tpm.signed(transmit, nonce, PCRS), log=b"")


def extend(transmit: Transmit, pcr: int, digest: bytes) -> None:
    """TPM2_PCR_Extend (P3, 22.2), SHA-256 bank."""
    session = struct.pack(">I", len(tpm.EMPTY_PASSWORD)) + tpm.EMPTY_PASSWORD
    body = struct.pack(">I", pcr) + session + struct.pack(">IH", 1, tpm.SHA256) + digest
    assert transmit(struct.pack(">HII", 0x8002, 10 + len(body), 0x182) + body)[6:10] == bytes(4)


def test_a_real_quote_is_accepted_and_shows_what_was_extended(tmp_path: Path) -> None:
    with started(tmp_path) as transmit:
        before = ask(transmit)
        quote.check(before, NONCE, PCRS)
        assert before.values == (bytes(32),) * len(PCRS)
        digest = hashlib.sha256(b"program").digest()
        extend(transmit, 4, digest)
        after = ask(transmit)
        quote.check(after, NONCE, PCRS)
    assert after.values[4] == hashlib.sha256(bytes(32) + digest).digest()
    assert after.values[:4] == before.values[:4]


def test_the_key_is_the_tpms_own_for_ever(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with started(tmp_path) as transmit:
        first = quote.check(ask(transmit), NONCE, PCRS)
    with started(tmp_path) as transmit:
        second = quote.check(ask(transmit, b"m"), b"m", PCRS)
    with started(tmp_path / "other") as transmit:
        other = quote.check(ask(transmit), NONCE, PCRS)
    assert first == second
    assert other != first


def test_nothing_is_left_in_the_tpm(tmp_path: Path) -> None:
    with started(tmp_path) as transmit:
        for _ in range(8):  # it has room for three keys
            ask(transmit)


def test_a_tpm_that_was_not_started_refuses(tmp_path: Path) -> None:
    with powered(tmp_path) as transmit, pytest.raises(TpmRefusedError, match="0x17e with 0x100"):  # TPM_RC_INITIALIZE
        ask(transmit)


def test_a_nonce_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with started(tmp_path) as transmit:
        with pytest.raises(TpmRefusedError, match="0x158"):
            ask(transmit, b"n" * 200)
        ask(transmit)

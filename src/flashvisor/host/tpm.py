"""TPM 2.0: the four commands that a quote takes, spoken to the kernel's resource manager. Ships in flash.

Owns their bytes, and no more of the TPM: it creates nothing that stays there. The key is a primary key of the
endorsement hierarchy, so the same TPM gives the same key each time, and it never leaves it. Checking a quote is the
administrator's side (trust/quote.py). Why not tpm2-tools: docs/adr/0020. ::

    found = quote(nonce, (0, 2, 4, 7, 11))      # Quote(quoted=..., signature=..., key=..., values=..., log=...)

Source: TCG TPM 2.0 Library 1.59, part 2 (structures, "P2") and part 3 (commands, "P3"); Linux, drivers/char/tpm.
"""

from __future__ import annotations

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import NoEventLogError, NoTpmError, TpmRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEVICE = Path("/dev/tpmrm0")
EVENT_LOG = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
PCR_LIMIT = 24  # PC Client platforms have 24
READ_LIMIT = 8  # PCRs that one TPM2_PCR_Read answers at most (P2, TPML_DIGEST)
ANSWER_LIMIT = 4096  # bytes; the kernel's own limit (TPM_BUFSIZE)

SHA256, NULL, ECDSA, ECC, P256 = 0x000B, 0x0010, 0x0018, 0x0023, 0x0003
NO_SESSIONS, SESSIONS = 0x8001, 0x8002
CREATE_PRIMARY, FLUSH_CONTEXT, QUOTE, PCR_READ = 0x131, 0x165, 0x158, 0x17E
ENDORSEMENT = 0x4000000B
# TPM_RS_PW, no nonce, continueSession, an empty password (P2, TPMS_AUTH_COMMAND)
EMPTY_PASSWORD = struct.pack(">IHBH", 0x40000009, 0, 1, 0)
# fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, noDA, restricted, sign (P2, TPMA_OBJECT). Restricted: it
# signs only what the TPM itself made, so that nobody can have it sign a quote of his own.
ATTRIBUTES = 1 << 1 | 1 << 4 | 1 << 5 | 1 << 6 | 1 << 10 | 1 << 16 | 1 << 18
# TPMT_PUBLIC (P2): ECC, SHA-256, no policy, no symmetric algorithm, ECDSA with SHA-256, P-256, no KDF, no point
TEMPLATE = struct.pack(
    ">HHIHHHHHHHH", ECC, SHA256, ATTRIBUTES, 0, NULL, ECDSA, SHA256, P256, NULL, 0, 0
)  # fmt: skip
_HEADER = struct.Struct(">HII")
_LENGTH = struct.Struct(">H")


@dataclass(frozen=True)
class Quote:
    """What a TPM says of its PCRs, in its own forms.

    Args:
        quoted: TPMS_ATTEST, which the signature covers.
        signature: TPMT_SIGNATURE.
        key: TPMT_PUBLIC of the key that signed.
        values: The SHA-256 bank's values of the PCRs asked for, by ascending number; not signed themselves.
        log: The firmware's event log, as the kernel keeps it.
    """

    quoted: bytes
    signature: bytes
    key: bytes
    values: tuple[bytes, ...]
    log: bytes


def quote(nonce: bytes, pcrs: Sequence[int], *, device: Path = DEVICE, log: Path = EVENT_LOG) -> Quote:
    """Has the TPM sign its PCRs, and adds the log that explains them.

    Args:
        nonce: 1 to 32 bytes that come back signed.
        pcrs: Numbers below 24, ascending.
        device: The kernel's resource manager.
        log: The kernel's copy of the firmware's event log.

    Raises:
        NoTpmError: there is none, or it does not answer.
        TpmRefusedError: it refused a command.
        NoEventLogError: the firmware left no log.
    """
    try:
        handle = os.open(device, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise NoTpmError(f"this server has no TPM 2.0: {device}: {error.strerror}") from error

    def transmit(command: bytes) -> bytes:
        try:
            os.write(handle, command)
            return os.read(handle, ANSWER_LIMIT)
        except OSError as error:
            raise NoTpmError(f"this server's TPM does not answer: {error.strerror}") from error

    try:
        quoted, signature, key, values = signed(transmit, nonce, pcrs)
    except struct.error as error:
        raise TpmRefusedError("this server's TPM cut an answer short", evidence=str(error)) from error
    finally:
        os.close(handle)
    try:
        return Quote(quoted, signature, key, values, log.read_bytes())
    except OSError as error:
        raise NoEventLogError(f"this server has no event log of its firmware: {error.strerror}") from error


def signed(
    transmit: Callable[[bytes], bytes], nonce: bytes, pcrs: Sequence[int]
) -> tuple[bytes, bytes, bytes, tuple[bytes, ...]]:
    """Speaks to a TPM: returns TPMS_ATTEST, TPMT_SIGNATURE, TPMT_PUBLIC and the PCRs' values.

    Args:
        transmit: Carries a command there and its answer back.
        nonce: As for `quote`.
        pcrs: As for `quote`.

    Raises:
        TpmRefusedError: it refused a command.
    """
    values: list[bytes] = []
    for start in range(0, len(pcrs), READ_LIMIT):
        values += _read_pcrs(transmit, pcrs[start : start + READ_LIMIT])
    handle, public = _create_key(transmit)
    try:
        quoted, signature = _sign(transmit, handle, nonce, pcrs)
    finally:
        _call(transmit, FLUSH_CONTEXT, struct.pack(">I", handle))
    return quoted, signature, public, tuple(values)


def _create_key(transmit: Callable[[bytes], bytes]) -> tuple[int, bytes]:
    """TPM2_CreatePrimary (P3, 24.1): returns the key's handle and its TPMT_PUBLIC."""
    no_secret, no_data, no_pcrs = _sized(bytes(4)), _sized(b""), bytes(4)
    parameters = no_secret + _sized(TEMPLATE) + no_data + no_pcrs
    answer = _call(transmit, CREATE_PRIMARY, parameters, authorised=ENDORSEMENT)
    handle, _size = struct.unpack_from(">II", answer)
    return handle, _unsized(answer, 8)


def _sign(transmit: Callable[[bytes], bytes], handle: int, nonce: bytes, pcrs: Sequence[int]) -> tuple[bytes, bytes]:
    """TPM2_Quote (P3, 18.4) by the key's own scheme: returns TPMS_ATTEST and TPMT_SIGNATURE."""
    answer = _call(transmit, QUOTE, _sized(nonce) + _LENGTH.pack(NULL) + _selection(pcrs), authorised=handle)
    (size,) = struct.unpack_from(">I", answer)
    quoted = _unsized(answer, 4)
    return quoted, answer[4 + _LENGTH.size + len(quoted) : 4 + size]


def _read_pcrs(transmit: Callable[[bytes], bytes], pcrs: Sequence[int]) -> list[bytes]:
    """TPM2_PCR_Read (P3, 22.4).

    Raises:
        TpmRefusedError: the TPM has no SHA-256 bank, or lacks one of them.
    """
    answer = _call(transmit, PCR_READ, _selection(pcrs))
    # pcrUpdateCounter, pcrSelectionOut: of as many banks as were asked for, each with as many bytes of bits
    (count,) = struct.unpack_from(">I", answer, 4 + len(_selection(pcrs)))
    if count != len(pcrs):
        raise TpmRefusedError(f"the TPM has {count} of {len(pcrs)} PCRs in its SHA-256 bank: the bank is off")
    values, start = [], 4 + len(_selection(pcrs)) + 4
    for _ in pcrs:
        values.append(_unsized(answer, start))
        start += _LENGTH.size + len(values[-1])
    return values


def _call(
    transmit: Callable[[bytes], bytes], command: int, parameters: bytes, *, authorised: int | None = None
) -> bytes:
    """Sends a command and returns its answer behind the header. `authorised`: a handle, used with an empty password."""
    tag = NO_SESSIONS
    if authorised is not None:
        tag = SESSIONS
        session = struct.pack(">I", len(EMPTY_PASSWORD)) + EMPTY_PASSWORD
        parameters = struct.pack(">I", authorised) + session + parameters
    answer = transmit(_HEADER.pack(tag, _HEADER.size + len(parameters), command) + parameters)
    if len(answer) < _HEADER.size:
        raise TpmRefusedError(f"the TPM answered command {command:#x} with {len(answer)} bytes")
    _, size, status = _HEADER.unpack_from(answer)
    if status:
        raise TpmRefusedError(f"the TPM refused command {command:#x} with {status:#x}")
    return answer[_HEADER.size : size]


def _selection(pcrs: Sequence[int]) -> bytes:
    """TPML_PCR_SELECTION of one bank: SHA-256 (P2)."""
    bits = sum(1 << pcr for pcr in pcrs)
    return struct.pack(">IHB", 1, SHA256, PCR_LIMIT // 8) + bits.to_bytes(PCR_LIMIT // 8, "little")


def _sized(data: bytes) -> bytes:
    """A TPM2B: length and bytes."""
    return _LENGTH.pack(len(data)) + data


def _unsized(answer: bytes, start: int) -> bytes:
    (size,) = _LENGTH.unpack_from(answer, start)
    return answer[start + _LENGTH.size : start + _LENGTH.size + size]

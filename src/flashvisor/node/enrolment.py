"""The owner's Secure Boot keys into firmware and out again, on the owner's word, and never so that it locks itself out.

Owns the order and the guard. What is written was made and signed by the owner (trust/secureboot.py); firmware itself
checks it: in Setup Mode it takes what is well formed, afterwards only what the platform key has signed.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from flashvisor.api.types import EnrolReport
from flashvisor.errors import BadRequestError, FirmwareVariableError, LockoutError
from flashvisor.trust.signatures import ATTRIBUTES, VENDORS, certificates, certificates_in_force

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.api.types import FirmwareWrite
    from flashvisor.node.machine import Machine


def enrol(machine: Machine, writes: Sequence[FirmwareWrite]) -> EnrolReport:
    """Writes the owner's db, KEK and PK.

    Raises:
        BadRequestError: they are not those three, or PK is not the last.
        LockoutError: an image in flash is not signed with a key of the new db.
        FirmwareVariableError: there is no UEFI, or firmware refused; without PK nothing is in force.
    """
    check(writes)
    refuse_lockout(writes, machine.signatures())
    firmware = machine.firmware()
    if firmware.flag("SetupMode") is None:
        raise FirmwareVariableError("this server's firmware shows no Secure Boot variables")
    for each in writes:
        firmware.write(each.name, uuid.UUID(each.guid), each.attributes, each.data)
    return EnrolReport(setup_mode=bool(firmware.flag("SetupMode")), secure_boot=bool(firmware.flag("SecureBoot")))


def take_keys_out(machine: Machine, write: FirmwareWrite) -> None:
    """Takes the owner's PK out of firmware: it is in Setup Mode again. One that is, or has no UEFI, is left alone.

    Raises:
        BadRequestError: it is not PK's deletion.
        FirmwareVariableError: firmware refused: another owner's PK, or an older signature than it has seen.
    """
    expected = (str(VENDORS["PK"]), ATTRIBUTES)
    if write.name != "PK" or (write.guid, write.attributes) != expected or certificates(write.data):
        raise BadRequestError("expected the signed deletion of PK")
    firmware = machine.firmware()
    if firmware.flag("SetupMode") is False:
        firmware.write(write.name, VENDORS["PK"], write.attributes, write.data)


def check(writes: Sequence[FirmwareWrite]) -> None:
    """Makes sure that only Secure Boot's variables are written, each once, and PK last. Pure.

    Raises:
        BadRequestError: it is not so.
    """
    names = [each.name for each in writes]
    if sorted(names) != sorted(VENDORS) or names[-1] != "PK":
        raise BadRequestError(f"expected db and KEK, and PK last, got {', '.join(names) or 'nothing'}")
    for each in writes:
        if each.guid != str(VENDORS[each.name]) or each.attributes != ATTRIBUTES:
            raise BadRequestError(f"{each.name} has another vendor or other attributes than UEFI gives it")


def refuse_lockout(writes: Sequence[FirmwareWrite], signatures: dict[str, bytes]) -> None:
    """Makes sure that each image in flash carries a certificate of the new db. Pure.

    Whether the signature itself is good is for firmware to say; this is against the wrong keyring and unsigned images.

    Args:
        writes: As checked.
        signatures: Each slot's certificate table.

    Raises:
        LockoutError: a slot's image has none of them, or no slot holds an image.
    """
    allowed = [certificate for each in writes if each.name == "db" for certificate in certificates(each.data)]
    strange = _unsigned(allowed, signatures)
    if strange or not signatures:
        where = " and ".join(strange) or "no slot that can be read"
        raise LockoutError(f"the image in {where} is not signed with a key of this db")


def refused_slots(machine: Machine) -> tuple[str, ...]:
    """Returns the slots whose image carries no certificate of the firmware's db, while Secure Boot is in force.

    Raises:
        FirmwareVariableError: firmware does not give its variables.
    """
    firmware = machine.firmware()
    database = firmware.read("db", VENDORS["db"])
    if not firmware.flag("SecureBoot") or database is None:
        return ()
    return tuple(_unsigned(certificates_in_force(database[1]), machine.signatures()))


def _unsigned(allowed: Sequence[bytes], signatures: dict[str, bytes]) -> list[str]:
    return [slot for slot, table in sorted(signatures.items()) if not any(one in table for one in allowed)]

"""The owner's keys into firmware: only the right variables, in the right order, and never a lockout."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.api.types import FirmwareWrite
from flashvisor.errors import BadRequestError, FirmwareVariableError, LockoutError
from flashvisor.host.efivars import EfiVars
from flashvisor.model.bootentry import GLOBAL
from flashvisor.node.enrolment import check, enrol, refuse_lockout, refused_slots, take_keys_out
from flashvisor.node.fakemachine import FakeMachine
from flashvisor.trust.certificates import to_der
from flashvisor.trust.secureboot import Payload, enrolment, release
from flashvisor.trust.signatures import CERT_X509, VENDORS

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def writes_of(keyring: Keyring) -> list[FirmwareWrite]:
    return [write_of(each) for each in enrolment(keyring, NOW)]


def write_of(payload: Payload) -> FirmwareWrite:
    return FirmwareWrite(name=payload.name, guid=str(payload.guid), attributes=payload.attributes, data=payload.data)


def signed_by(keyring: Keyring) -> bytes:
    """A certificate table as far as the guard reads it."""
    return b"table" + to_der(keyring.certificate("db")) + b"end"


@pytest.fixture
def machine(tmp_path: Path, keyring: Keyring) -> FakeMachine:
    """A server in Setup Mode whose two slots the owner has signed."""
    made = FakeMachine()
    for name, value in (("SetupMode", 1), ("SecureBoot", 0)):
        (tmp_path / f"{name}-{GLOBAL}").write_bytes(bytes([6, 0, 0, 0, value]))
    made.variables = EfiVars(tmp_path)
    made.signed = {"factory": signed_by(keyring), "a": signed_by(keyring)}
    return made


def test_the_owners_variables_are_written(machine: FakeMachine, keyring: Keyring) -> None:
    report = enrol(machine, writes_of(keyring))
    assert report.setup_mode  # a directory ends no Setup Mode; firmware does when PK is in
    for each in writes_of(keyring):
        assert machine.variables.read(each.name, VENDORS[each.name]) == (each.attributes, each.data)


@pytest.mark.parametrize("slot", ["factory", "a"])
def test_a_slot_that_would_not_start_again_forbids_it(
    machine: FakeMachine, keyring: Keyring, stranger: Keyring, slot: str
) -> None:
    machine.signed[slot] = signed_by(stranger)
    with pytest.raises(LockoutError, match=f"the image in {slot} is not signed"):
        enrol(machine, writes_of(keyring))
    assert machine.variables.read("db", VENDORS["db"]) is None


def test_no_slot_at_all_forbids_it_too(keyring: Keyring) -> None:
    with pytest.raises(LockoutError):
        refuse_lockout(writes_of(keyring), {})


def test_a_server_without_uefi_says_so(machine: FakeMachine, keyring: Keyring, tmp_path: Path) -> None:
    machine.variables = EfiVars(tmp_path / "none")
    with pytest.raises(FirmwareVariableError, match="no Secure Boot variables"):
        enrol(machine, writes_of(keyring))


def test_only_secure_boots_variables_and_pk_last(keyring: Keyring) -> None:
    db, kek, pk = writes_of(keyring)
    check([kek, db, pk])
    for wrong in ([], [pk, db, kek], [db, pk], [db, kek, pk, pk], [db, kek, msgspec.structs.replace(pk, name="dbx")]):
        with pytest.raises(BadRequestError, match="PK last"):
            check(wrong)
    for change in ({"guid": str(GLOBAL)}, {"attributes": 7}):
        with pytest.raises(BadRequestError, match="another vendor or other attributes"):
            check([msgspec.structs.replace(db, **change), kek, pk])


@pytest.mark.parametrize("setup", [0, 1])
def test_keys_are_taken_out_of_a_server_that_has_them(
    machine: FakeMachine, keyring: Keyring, tmp_path: Path, setup: int
) -> None:
    (tmp_path / f"SetupMode-{GLOBAL}").write_bytes(bytes([6, 0, 0, 0, setup]))
    write = write_of(release(keyring, NOW))
    take_keys_out(machine, write)
    assert machine.variables.read("PK", GLOBAL) == (None if setup else (write.attributes, write.data))


def test_only_pks_deletion_takes_keys_out(machine: FakeMachine, keyring: Keyring) -> None:
    for each in writes_of(keyring):
        with pytest.raises(BadRequestError, match="deletion of PK"):
            take_keys_out(machine, each)


def test_which_slots_firmware_would_refuse(
    machine: FakeMachine, keyring: Keyring, stranger: Keyring, tmp_path: Path
) -> None:
    (signed,) = [each.data for each in enrolment(keyring, NOW) if each.name == "db"]
    lists = signed[signed.index(CERT_X509.bytes_le) :]
    machine.variables.write("db", VENDORS["db"], 7, lists)
    machine.signed["a"] = signed_by(stranger)
    assert refused_slots(machine) == (), "Secure Boot is off"
    (tmp_path / f"SecureBoot-{GLOBAL}").write_bytes(bytes([6, 0, 0, 0, 1]))
    assert refused_slots(machine) == ("a",)
    machine.variables.write("db", VENDORS["db"], 7, b"no lists")
    with pytest.raises(BadRequestError, match="not signature lists"):
        refused_slots(machine)

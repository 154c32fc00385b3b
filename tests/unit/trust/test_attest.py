"""What a server's TPM says, against what it should say: whole starts, and every way to start something else."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
import pytest

from flashvisor.errors import BadQuoteError, FalseEventLogError
from flashvisor.model.measurement import Measurements, Section
from flashvisor.trust import attest
from flashvisor.trust.secureboot import contents
from sim import tpmsim
from sim.tpmsim import TpmSim

if TYPE_CHECKING:
    from collections.abc import Callable

    from flashvisor.trust.attest import Firmware
    from flashvisor.trust.keyring import Keyring

NONCE = bytes(range(32))


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


IMAGE = Measurements(
    title="flashvisor 1.0",
    image=digest("image"),
    sections=(Section(".linux", digest("linux")), Section(".cmdline", digest("quiet"))),
)
OTHER = msgspec.structs.replace(IMAGE, image=digest("other"))


@pytest.fixture(scope="module")
def keys(keyring: Keyring) -> dict[str, bytes]:
    return contents(keyring)


def differences(tpm: TpmSim, keys: dict[str, bytes] | None, known: Firmware | None = None) -> list[str]:
    """What is not as it should be, after all that is signed was checked."""
    measured = attest.read(tpm.quote(NONCE, attest.PCRS), NONCE)
    found = attest.compare(measured, IMAGE, owner=keys, known=known)
    assert found
    return [f"{each.pcr}: {each.what}" for each in found if not each.good]


def test_a_start_as_it_should_be(keys: dict[str, bytes]) -> None:
    tpm = TpmSim()
    tpmsim.boot(tpm, IMAGE, keys)
    measured = attest.read(tpm.quote(NONCE, attest.PCRS), NONCE)
    found = attest.compare(measured, IMAGE, owner=keys, known=measured.firmware())
    assert all(each.good for each in found)
    assert {each.pcr for each in found} == {0, 2, 4, 7, 11, 12}
    assert "flashvisor 1.0 was started, and nothing else" in [each.what for each in found]


def another_image(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, OTHER, keys)


def an_image_that_pretends_to_be_ours(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    another_image(tpm, keys)
    tpmsim.start(tpm, IMAGE)


def a_program_before(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpm.extend(4, b"its path", tpmsim.PROGRAM, b"\7" * 32)
    tpmsim.boot(tpm, IMAGE, keys)


def a_program_that_the_log_calls_an_action(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    # Its bytes are what was hashed, so the digest is theirs: only that a text is short and readable tells it apart.
    tpm.extend(4, b"MZ\x90\0 a whole program")
    tpmsim.boot(tpm, IMAGE, keys)


def twice(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, keys)
    tpm.extend(4, b"its path", tpmsim.PROGRAM, bytes.fromhex(IMAGE.image))


def nothing_measured(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.firmware(tpm)
    tpmsim.secure_boot(tpm, keys)
    tpmsim.marks(tpm)


def another_command_line(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    sections = (IMAGE.sections[0], Section(".cmdline", digest("init=/evil")))
    tpmsim.boot(tpm, msgspec.structs.replace(IMAGE, sections=sections), keys)


def a_section_more(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, keys)
    tpm.extend(11, b".splash\0", tpmsim.IPL)


def parameters(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, keys)
    tpm.extend(12, b"init=/evil", tpmsim.IPL)
    tpm.extend(13, b"evil.raw", tpmsim.IPL)


def secure_boot_off(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, keys, on=False)


def secure_boot_off_and_then_on(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    secure_boot_off(tpm, keys)
    tpmsim.secure_boot(tpm, keys)


def secure_boot_said_twice(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.secure_boot(tpm, keys, on=False)
    tpmsim.boot(tpm, IMAGE, keys)


def no_keys(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, {**keys, "db": b""})


def no_signature_list(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpmsim.boot(tpm, IMAGE, {**keys, "KEK": b"what is this"})


def debug_mode(tpm: TpmSim, keys: dict[str, bytes]) -> None:
    tpm.extend(7, b"UEFI Debug Mode\0")
    tpmsim.boot(tpm, IMAGE, keys)


SHORT = {name: hashlib.sha256(name.encode()).hexdigest()[:16] for name in ("image", "other")}


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (
            another_image,
            "4: another image was started: expected flashvisor 1.0 (sha256 {image}…), measured sha256 {other}",
        ),
        (an_image_that_pretends_to_be_ours, "4: besides flashvisor 1.0, another program was started: sha256 {other}…"),
        (a_program_before, "4: besides flashvisor 1.0, another program was started: sha256 0707070707070707…"),
        (a_program_that_the_log_calls_an_action, "4: besides flashvisor 1.0, another program was started"),
        (twice, "4: flashvisor 1.0 was started more than once"),
        (nothing_measured, "4: the firmware measured no program"),
        (nothing_measured, "11: the image measured none of its parts"),
        (another_command_line, "11: its kernel command line (.cmdline) is not the one that was built"),
        (a_section_more, "11: its parts were measured in another way: 5 times, not 4"),
        (parameters, "12: parameters or credentials were added"),
        (parameters, "13: system extensions were added"),
        (secure_boot_off, "7: Secure Boot is off"),
        (secure_boot_off_and_then_on, "7: Secure Boot is off"),
        (secure_boot_said_twice, "7: Secure Boot is off"),
        (no_keys, "7: db does not hold your key"),
        (no_signature_list, "7: KEK does not hold keys"),
        (debug_mode, "7: the firmware says: UEFI Debug Mode"),
    ],
)
def test_what_differs_is_said(
    start: Callable[[TpmSim, dict[str, bytes]], None], expected: str, keys: dict[str, bytes]
) -> None:
    tpm = TpmSim()
    start(tpm, keys)
    words = expected
    for name, text in SHORT.items():
        words = words.replace(f"{{{name}}}", text)
    assert any(each.startswith(words) for each in differences(tpm, keys)), differences(tpm, keys)


def test_a_strangers_keys_are_named(keys: dict[str, bytes], stranger: Keyring) -> None:
    mixed, tpm = {**keys, "db": keys["db"] + contents(stranger)["db"]}, TpmSim()
    tpmsim.boot(tpm, IMAGE, mixed)
    (found,) = differences(tpm, keys)
    assert found.startswith("7: db holds a key that is not yours: ")
    assert "Stranger Ltd" in found
    theirs = TpmSim()
    tpmsim.boot(theirs, IMAGE, contents(stranger))
    assert "7: PK does not hold your key" in differences(theirs, keys)
    assert differences(theirs, None) == []  # asked to look at the image alone


def test_a_key_that_the_owner_rotated_out_may_stay_in_db(keys: dict[str, bytes], stranger: Keyring) -> None:
    old, tpm = contents(stranger)["db"], TpmSim()
    tpmsim.boot(tpm, IMAGE, keys)
    assert differences(tpm, {**keys, "db": keys["db"] + old}) == []
    assert differences(tpm, {**keys, "db": old + keys["db"]}) == ["7: db does not hold your key"]


def test_firmware_that_changed_is_told_by_its_events(keys: dict[str, bytes]) -> None:
    tpm, later = TpmSim(), TpmSim()
    tpmsim.boot(tpm, IMAGE, keys)
    known = attest.read(tpm.quote(NONCE, attest.PCRS), NONCE).firmware()
    assert differences(tpm, keys, known) == []
    tpmsim.firmware(later, b"firmware 2.0")
    tpmsim.secure_boot(later, keys)
    tpmsim.marks(later)
    tpmsim.start(later, IMAGE)
    short = hashlib.sha256(b"firmware 2.0").hexdigest()[:16]
    assert differences(later, keys, known) == [
        f"0: the firmware changed since the last attest; new: a volume of firmware (sha256 {short}…); "
        "1 of 3 earlier measurements are gone"
    ]


def test_a_log_that_hides_something_does_not_lead_to_the_pcrs(keys: dict[str, bytes]) -> None:
    tpm = TpmSim()
    a_program_before(tpm, keys)
    answer = tpm.quote(NONCE, attest.PCRS)
    cleaned = TpmSim(events=[each for each in tpm.events if each.digest != b"\7" * 32])
    with pytest.raises(FalseEventLogError, match="PCR 4"):
        attest.read(replace(answer, log=cleaned.log()), NONCE)
    relabelled = TpmSim(events=[replace(each, kind=3) if each.digest == b"\7" * 32 else each for each in tpm.events])
    with pytest.raises(FalseEventLogError, match="PCR 4"):
        attest.read(replace(answer, log=relabelled.log()), NONCE)


def test_values_that_were_not_signed_are_refused(keys: dict[str, bytes]) -> None:
    tpm, clean = TpmSim(), TpmSim()
    a_program_before(tpm, keys)
    tpmsim.boot(clean, IMAGE, keys)
    answer, wanted = tpm.quote(NONCE, attest.PCRS), clean.quote(NONCE, attest.PCRS)
    with pytest.raises(BadQuoteError, match="not what was asked for"):
        attest.read(replace(answer, values=wanted.values, log=wanted.log), NONCE)
    with pytest.raises(BadQuoteError, match="not signed by the key"):
        attest.read(replace(wanted, signature=answer.signature, key=answer.key), NONCE)

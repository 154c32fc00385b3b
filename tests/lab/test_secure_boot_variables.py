"""The owner's signed variables on real firmware: Setup Mode, enrolled, rotated, forged ones refused, released."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache
from flashvisor.flash.burn import make_flash_image
from flashvisor.host import cpio, ukify
from flashvisor.host.files import write_directory_once
from flashvisor.host.sbsign import sign
from flashvisor.image.kernel import kernel
from flashvisor.image.labqemu import lab_qemu
from flashvisor.image.nolibc import compile_program
from flashvisor.image.trees import build_root
from flashvisor.image.workshop import EPOCH, workshop
from flashvisor.lab.machine import ServerSpec
from flashvisor.lab.rack import Rack
from flashvisor.trust import keystore, secureboot
from flashvisor.trust.keyring import Keyring

if TYPE_CHECKING:
    from flashvisor.trust.secureboot import Payload

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("alone")]

PROBE = Path(__file__).with_name("efiprobe.c")
NOW = datetime(2026, 11, 24, 10, 30, 15, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
LIMIT = 180.0  # seconds, under emulation
REFUSED = 13  # EACCES: the firmware's EFI_SECURITY_VIOLATION


def payloads(keyring: Keyring, stranger: Keyring, rotated: Keyring) -> dict[str, dict[str, Payload]]:
    """Returns what the probe is to write in Setup Mode, and after it."""
    update = secureboot.platform_key_update(rotated, NOW + MINUTE)
    assert update is not None
    new_db = secureboot.contents(rotated)["db"]
    return {
        "setup": {one.name: one for one in secureboot.enrolment(keyring, NOW)},
        "user": {
            "forged": secureboot.authenticated("db", new_db, stranger.signing("PK"), NOW + MINUTE),
            "db": secureboot.authenticated("db", new_db, keyring.signing("PK"), NOW + MINUTE),
            "stale": secureboot.authenticated("db", new_db, keyring.signing("PK"), NOW),
            "PK": update,
            "release": secureboot.release(rotated, NOW + 2 * MINUTE),
        },
    }


def probe(place: Path, module_key: str, files: dict[str, dict[str, Payload]]) -> Path:
    """Builds the probe: our kernel, a program, its payloads."""
    cache = open_cache()
    tree, linux = build_root(cache), kernel(cache, module_key)
    with workshop(tree, place, place / "probe.log") as shop:
        (shop.work / "initrd").mkdir()
        compile_program(shop, linux / "nolibc", PROBE.read_text(), "initrd/init")
        for mode, by_name in files.items():
            (shop.work / "initrd" / mode).mkdir()
            for name, one in by_name.items():
                data = one.attributes.to_bytes(4, "little") + one.data
                (shop.work / "initrd" / mode / name).write_bytes(data)
        shutil.copyfile(linux / "bzImage", shop.work / "linux")
        cpio.pack(tree, shop.work, "initrd", "initrd.cpio", epoch=EPOCH)
        parts = ukify.Parts("linux", "initrd.cpio", "console=ttyS0,115200 quiet", "ID=probe", "probe")
        ukify.build(tree, shop.work, parts, "probe.efi")
        shop.keep("probe.efi", place)
    return place / "probe.efi"


def test_enrolled_rotated_and_released(owner: Keyring, keyring: Keyring, stranger: Keyring, tmp_path: Path) -> None:
    write_directory_once(tmp_path / "keys", {keystore.STORE: keystore.encode(keyring.store)})
    rotated = Keyring.open(tmp_path / "keys").rotate("db").rotate("PK")
    (tmp_path / "build").mkdir()
    unsigned = probe(tmp_path / "build", owner.module_key, payloads(keyring, stranger, rotated))
    with keyring.unlocked("db") as files:
        sign(unsigned, tmp_path / "probe.efi", key=files.key, cert=files.cert)
    make_flash_image(tmp_path / "probe.efi", tmp_path / "flash.img", [])
    rack = Rack(tmp_path / "rack")
    try:
        server = rack.up(ServerSpec(name="probe", flash=tmp_path / "flash.img", qemu=lab_qemu(open_cache())))
        expected = (
            *("SetupMode=1 SecureBoot=0", "/setup/db 0", "/setup/KEK 0", "/setup/PK 0"),
            *("SetupMode=0 SecureBoot=1", f"/user/forged {REFUSED}", "/user/db 0", f"/user/stale {REFUSED}"),
            *("/user/PK 0", "/user/release 0", "SetupMode=1 SecureBoot=0"),
        )
        done = 0
        for line in expected:
            server.wait_for(f"probe: {line}", LIMIT, since=done)
            done = server.serial_log.read_bytes().index(f"probe: {line}".encode(), done) + len(line)
    finally:
        rack.down_all()

"""The guests whose XML is kept in golden/; run this file to write it anew."""

from __future__ import annotations

import uuid
from pathlib import Path

from flashvisor.guests.domain import Bios, Card, DirectKernel, Disk, DiskFormat, DomainSpec, Uefi, domain_xml

GOLDEN = Path(__file__).parent / "golden"

SPECS = {
    "kernel": DomainSpec(
        name="hello",
        uuid=uuid.UUID("00000000-0000-5000-8000-000000000001"),
        memory=64 << 20,
        cpus=1,
        boot=DirectKernel("/run/k/linux", "/run/k/initrd", "console=ttyS0 quiet"),
        console_socket="/run/flashvisor/console/hello.sock",
        cards=(Card("br-inside", "52:54:00:00:00:01", "tap-hello-0"),),
    ),
    "kernel-without-initrd": DomainSpec(
        name="bare",
        uuid=uuid.UUID("00000000-0000-5000-8000-000000000002"),
        memory=32 << 20,
        cpus=1,
        boot=DirectKernel("/run/k/linux", "", "console=ttyS0"),
        console_socket="/run/flashvisor/console/bare.sock",
        emulator="/opt/qemu",
        nested=True,
    ),
    "bios": DomainSpec(
        name="old",
        uuid=uuid.UUID("00000000-0000-5000-8000-000000000003"),
        memory=512 << 20,
        cpus=1,
        boot=Bios(),
        console_socket="/run/flashvisor/console/old.sock",
        disks=(Disk("/var/lib/flashvisor/storage/main/guests/old/disk.raw", DiskFormat.RAW),),
    ),
    "uefi-full": DomainSpec(
        name="debian",
        uuid=uuid.UUID("00000000-0000-5000-8000-000000000004"),
        memory=2 << 30,
        cpus=4,
        boot=Uefi("/var/lib/flashvisor/storage/main/guests/debian/nvram.fd"),
        console_socket="/run/flashvisor/console/debian.sock",
        title="debian on alpha",
        disks=(
            Disk("/var/lib/flashvisor/storage/main/guests/debian/disk.qcow2", DiskFormat.QCOW2, serial="root"),
            Disk("/var/lib/flashvisor/storage/main/images/data.raw", DiskFormat.RAW, readonly=True),
        ),
        seed="/var/lib/flashvisor/storage/main/guests/debian/seed.img",
        cards=(
            Card("br-inside", "52:54:00:00:00:02", "tap-debian-0"),
            Card("br-outside", "52:54:00:00:00:03", "tap-debian-1"),
        ),
        console_log="/run/flashvisor/console/debian.log",
    ),
}

if __name__ == "__main__":
    for name, spec in SPECS.items():
        (GOLDEN / f"{name}.xml").write_text(domain_xml(spec))

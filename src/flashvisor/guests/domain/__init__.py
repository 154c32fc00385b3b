"""A guest as libvirt's domain XML. Pure: everything is resolved before, nothing is looked up here.

Owns the virtual hardware that guests see. Only devices that our QEMU has are used (image/recipe/qemu-devices.mak).
Does not own qemu.conf (qemuconf.py) or who starts the domain (libvirt_driver.py)::

    spec = DomainSpec(name="hello", uuid=guest_uuid("alpha", "hello"), memory=64 << 20, cpus=1,
                      boot=DirectKernel("/k/linux", "/k/initrd", "console=ttyS0"),
                      console_socket="/run/flashvisor/console/hello.sock")
    connection.createXML(domain_xml(spec))

Source: https://libvirt.org/formatdomain.html
"""

from __future__ import annotations

from flashvisor.guests.domain.spec import EMULATOR as EMULATOR
from flashvisor.guests.domain.spec import OVMF_CODE as OVMF_CODE
from flashvisor.guests.domain.spec import OVMF_VARS as OVMF_VARS
from flashvisor.guests.domain.spec import Bios as Bios
from flashvisor.guests.domain.spec import Card as Card
from flashvisor.guests.domain.spec import DirectKernel as DirectKernel
from flashvisor.guests.domain.spec import Disk as Disk
from flashvisor.guests.domain.spec import DiskFormat as DiskFormat
from flashvisor.guests.domain.spec import DomainSpec as DomainSpec
from flashvisor.guests.domain.spec import Uefi as Uefi
from flashvisor.guests.domain.xml import domain_xml as domain_xml

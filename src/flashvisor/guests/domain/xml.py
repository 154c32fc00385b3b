"""From a spec to domain XML: the machine. Its devices stand in devices.py."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from flashvisor.guests.domain.devices import add_devices
from flashvisor.guests.domain.element import add_text
from flashvisor.guests.domain.spec import Bios, DirectKernel, Uefi

if TYPE_CHECKING:
    from flashvisor.guests.domain.spec import DomainSpec

KIB = 1 << 10  # bytes


def domain_xml(spec: DomainSpec) -> str:
    """Returns the domain XML of a guest, byte for byte the same for the same spec."""
    domain = ET.Element("domain", type="kvm")
    add_text(domain, "name", spec.name)
    add_text(domain, "uuid", str(spec.uuid))
    if spec.title:
        add_text(domain, "title", spec.title)
    add_text(domain, "memory", str(-(-spec.memory // KIB)), unit="KiB")
    add_text(domain, "vcpu", str(spec.cpus), placement="static")
    _boot(domain, spec.boot)
    _features(domain)
    _cpu(domain, spec.nested)
    _clock(domain)
    # The agent restarts guests itself (supervise.py): whatever ends a domain ends it for libvirt, except a reboot.
    add_text(domain, "on_poweroff", "destroy")
    add_text(domain, "on_reboot", "restart")
    add_text(domain, "on_crash", "preserve" if spec.keep else "destroy")
    power = ET.SubElement(domain, "pm")
    ET.SubElement(power, "suspend-to-mem", enabled="no")
    ET.SubElement(power, "suspend-to-disk", enabled="no")
    add_devices(domain, spec)
    ET.SubElement(domain, "seclabel", type="dynamic", model="dac", relabel="yes")
    ET.indent(domain)
    return ET.tostring(domain, encoding="unicode") + "\n"


def _boot(domain: ET.Element, boot: DirectKernel | Bios | Uefi) -> None:
    system = ET.SubElement(domain, "os")
    add_text(system, "type", "hvm", arch="x86_64", machine="q35")
    match boot:
        case DirectKernel():
            add_text(system, "kernel", boot.kernel)
            if boot.initrd:
                add_text(system, "initrd", boot.initrd)
            add_text(system, "cmdline", boot.cmdline)
        case Uefi():
            add_text(system, "loader", boot.code, readonly="yes", secure="no", type="pflash", format="raw")
            nvram = {"template": boot.template, "templateFormat": "raw", "format": "raw"}
            add_text(system, "nvram", boot.nvram, **nvram)
        case Bios():
            pass


def _features(domain: ET.Element) -> None:
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    ET.SubElement(features, "apic")
    # Fewer things to attack, and SMM is slow under nested virtualisation. Our OVMF does not need it.
    ET.SubElement(features, "smm", state="off")


def _cpu(domain: ET.Element, nested: bool) -> None:
    cpu = ET.SubElement(domain, "cpu", mode="host-passthrough", check="none", migratable="on")
    if not nested:
        # KVM's nesting code is a large part of what a guest can reach of it. Off for both makers of CPUs.
        ET.SubElement(cpu, "feature", policy="disable", name="svm")
        ET.SubElement(cpu, "feature", policy="disable", name="vmx")


def _clock(domain: ET.Element) -> None:
    clock = ET.SubElement(domain, "clock", offset="utc")
    ET.SubElement(clock, "timer", name="rtc", tickpolicy="catchup")
    ET.SubElement(clock, "timer", name="pit", tickpolicy="delay")
    ET.SubElement(clock, "timer", name="hpet", present="no")

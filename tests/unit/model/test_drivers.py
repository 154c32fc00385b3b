"""The list of drivers holds what devices match, from modules and from the kernel itself, and nothing else."""

from __future__ import annotations

import pytest

from flashvisor.model.drivers import Patterns, modaliases

LOADABLE = """# Aliases extracted from modules themselves.
alias crypto-aes aesni_intel
alias cpu:type:x86,ven*fam*mod*:feature:*0099* aesni_intel
alias pci:v00008086d000010D3sv*sd*bc*sc*i* e1000e
alias acpi*:PNP0501:* serial
"""
BUILTIN = b"virtio_net.alias=virtio:d00000001v*\0ext4.alias=fs-ext4\0e.license=GPL\0"


def test_device_patterns_of_both_kinds_and_no_others() -> None:
    assert modaliases(LOADABLE, BUILTIN) == (
        "acpi*:PNP0501:*",
        "pci:v00008086d000010D3sv*sd*bc*sc*i*",
        "virtio:d00000001v*",
    )


def test_an_image_without_modules_lists_what_is_built_in() -> None:
    assert modaliases("", BUILTIN) == ("virtio:d00000001v*",)


@pytest.mark.parametrize(
    ("modalias", "covered"),
    [
        ("pci:v00008086d000010D3sv00008086sd00000000bc02sc00i00", True),
        ("pci:v00008086d000010d3sv00008086sd00000000bc02sc00i00", False),  # hexadecimal digits are upper case
        ("pci:v00008086d000010D4sv00008086sd00000000bc02sc00i00", False),
        ("acpi:PNP0501:", True),
        ("acpi:PNP0502:", False),
        ("usb:v1D6Bp0002d0612dc09dsc00dp01ic09isc00ip00in00", True),
        ("usb:v1D6Bp0002d0912dc09dsc00dp01ic09isc00ip00in00", False),
        ("platform:rtc_cmos", True),
        ("platform:rtc_cmos2", False),
        ("", False),
    ],
)
def test_patterns_are_those_of_modules_alias(modalias: str, covered: bool) -> None:
    patterns = (*modaliases(LOADABLE, BUILTIN), "usb:v*p*d0[0-6]*dc*dsc*dp*ic09isc*ip*in*", "platform:rtc_cmos")
    assert Patterns(patterns).cover(modalias) is covered


def test_no_patterns_cover_nothing() -> None:
    assert not Patterns(()).cover("pci:v00008086")

"""The list of drivers holds what devices match, from modules and from the kernel itself, and nothing else."""

from __future__ import annotations

from flashvisor.image.release import modaliases

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

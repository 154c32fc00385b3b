"""The command line of a kernel that QEMU loads itself. Pure.

Owns what a site's guest changes of it. Words behind "--" are init's, and stay as they are::

    completed("quiet ip=dhcp -- /usr/sbin/nginx", ["ip=192.0.2.2::192.0.2.1:255.255.255.0::eth0:off"])

Source: kernel-parameters.rst, Documentation/admin-guide/nfs/nfsroot.rst.
"""

from __future__ import annotations

from ipaddress import IPv4Interface
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flashvisor.model.site import Appliance

CARD = "eth0"  # the first card; an appliance has nobody who would rename it
END = "--"


def completed(cmdline: str, words: Sequence[str]) -> str:
    """Returns the command line with more words of the form NAME=VALUE, each in the place of one of the same name."""
    own, end, rest = f" {cmdline.strip()} ".partition(f" {END} ")
    names = {word.partition("=")[0] for word in words}
    kept = [word for word in own.split() if word.partition("=")[0] not in names]
    return " ".join([*kept, *words, *([END, rest.strip()] if end else [])])


def address_words(wish: Appliance | None, name: str) -> list[str]:
    """Returns the words that give a guest the address of the site file; none where DHCP gives it."""
    if wish is None or wish.address is None:
        return []
    address = IPv4Interface(wish.address)
    fields = [str(address.ip), "", wish.gateway or "", str(address.netmask), name, CARD, "off", *wish.dns]
    return [f"ip={':'.join(fields)}"]

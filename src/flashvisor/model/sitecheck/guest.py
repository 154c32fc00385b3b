"""Checks of `[guest.NAME]`, apart from its cards."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from flashvisor.errors import UnknownImageError, UnknownReferenceError, WrongTypeError
from flashvisor.model.names import guest_storage
from flashvisor.model.problem import did_you_mean
from flashvisor.model.sitecheck.appliance import check_appliance
from flashvisor.model.size import UNITS, parse_size

if TYPE_CHECKING:
    from flashvisor.model.problem import Problems
    from flashvisor.model.site import CloudInit, Guest, Site

MIN_MEMORY = 16 * UNITS["MiB"]  # bytes: less starts no kernel
MIN_DISK = 1 * UNITS["MiB"]  # bytes
MAX_SIZE = 1 << 60  # bytes: far above any machine, far below what libvirt and qcow2 can count

# authorized_keys(5) without options: type, base64, comment.
PUBLIC_KEY = re.compile(
    r"(ssh-ed25519|ssh-rsa|ecdsa-sha2-nistp(256|384|521)|sk-(ssh-ed25519|ecdsa-sha2-nistp256)@openssh\.com)"
    r" [A-Za-z0-9+/]{40,}={0,3}( .*)?"
)


def check_guest(site: Site, name: str, guest: Guest, found: Problems) -> None:
    """Checks a guest by itself, and what it names."""
    path = f"guest.{name}"
    if guest.image not in site.image:
        what = f'{path}.image: no image "{guest.image}" is declared'
        found.add(UnknownImageError, what, step=did_you_mean(guest.image, site.image))
    _size(guest.memory, f"{path}.memory", MIN_MEMORY, found)
    if guest.disk is not None:
        _size(guest.disk, f"{path}.disk", MIN_DISK, found)
    _guest_storage(site, path, guest, found)
    check_appliance(guest, path, found)
    if guest.cloud_init is not None:
        _cloud_init(guest.cloud_init, f"{path}.cloud_init", found)


def _size(text: str, path: str, least: int, found: Problems) -> None:
    if not least <= parse_size(text) < MAX_SIZE:
        found.add(WrongTypeError, f'{path}: expected at least {least // UNITS["MiB"]}MiB and below 1EiB, got "{text}"')


def _guest_storage(site: Site, path: str, guest: Guest, found: Problems) -> None:
    if guest.storage is not None and guest.storage not in site.storage:
        what = f'{path}.storage: no storage "{guest.storage}" is declared'
        found.add(UnknownReferenceError, what, step=did_you_mean(guest.storage, site.storage))
    elif guest_storage(site, guest) is None and (guest.disk is not None or site.storage):
        known = ", ".join(sorted(site.storage)) or "none is declared"
        found.add(UnknownReferenceError, f"{path}.storage: expected the name of a storage ({known}), got nothing")


def _cloud_init(wish: CloudInit, path: str, found: Problems) -> None:
    for index, key in enumerate(wish.ssh_keys):
        if not PUBLIC_KEY.fullmatch(key):
            # The text is not shown: people paste private keys by mistake.
            expected = 'an OpenSSH public key, as in "ssh-ed25519 AAAA… name"'
            found.add(WrongTypeError, f"{path}.ssh_keys[{index}]: expected {expected}")
    if wish.ssh_key_files:
        found.add(
            WrongTypeError,
            f"{path}.ssh_key_files: expected to be replaced by ssh_keys before the site reaches a server",
            step="`flashvisor apply` does it; over the API, send the keys' text as ssh_keys.",
        )

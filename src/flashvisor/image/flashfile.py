"""flash.img for one server: the image, and the server's identity in the state ring.

Owns what a new server's state ring begins with. How the device is laid out is flash/burn.py's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor import __version__
from flashvisor.flash.burn import make_flash_image
from flashvisor.flash.ringplan import IDENTITY_COPIES
from flashvisor.model.record import Identity, encode, kind_of

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring


def flash_image(efi: Path, output: Path, keyring: Keyring, node_name: str) -> Path:
    """Writes flash.img for a server that belongs to the keyring's owner from its first power-on.

    Args:
        efi: The signed image.
        output: Where flash.img goes. It holds the server's private key.
        keyring: Issues the server's certificate.
        node_name: Name in that certificate.
    """
    issued = keyring.issue_node(node_name)
    identity = Identity(
        node_name=node_name,
        owner_ca_pem=keyring.ca_pem.decode(),
        node_cert_pem=issued.cert_pem.decode(),
        node_key_pem=issued.key_pem.decode(),
    )
    make_flash_image(efi, output, [(kind_of(identity), encode(identity))] * IDENTITY_COPIES, __version__)
    return output

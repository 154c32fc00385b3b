"""flash.img for one server: the image, and in the state ring the server's identity and the root that it trusts.

Owns what a new server's state ring begins with. How the device is laid out is flash/burn.py's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor import __version__
from flashvisor.flash.burn import make_flash_image
from flashvisor.flash.ringplan import IDENTITY_COPIES, TRUST_COPIES
from flashvisor.model.record import Identity, encode, kind_of
from flashvisor.model.release import Memory

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring


def flash_image(efi: Path, output: Path, keyring: Keyring, node_name: str) -> Path:
    """Writes flash.img for a server that belongs to the keyring's owner, and takes the owner's updates.

    A keyring of the first form has no root: a server burnt with it takes no updates (cli/buildtools.py says so).

    Args:
        efi: The signed image.
        output: Where flash.img goes. It holds the server's private key.
        keyring: Issues the server's certificate, and names the root. Its first root is made if there is none yet.
        node_name: Name in that certificate.
    """
    issued = keyring.issue_node(node_name)
    identity = Identity(
        node_name=node_name,
        owner_ca_pem=keyring.ca_pem.decode(),
        node_cert_pem=issued.cert_pem.decode(),
        node_key_pem=issued.key_pem.decode(),
    )
    records = [(kind_of(identity), encode(identity))] * IDENTITY_COPIES
    if not keyring.is_first_form:
        trusted = Memory(root=keyring.founded().roots[-1])
        records += [(kind_of(trusted), encode(trusted))] * TRUST_COPIES
    make_flash_image(efi, output, records, __version__)
    return output

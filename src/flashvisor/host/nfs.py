"""NFS: mounts an export of a server, version 4.2 or 4.1, without nfs-utils: the kernel needs the server's address only.

Requests fail when the connection is lost and does not come back within about 20 seconds (`softerr`), which is no danger
to guests: QEMU pauses one whose read or write failed, and tries the same again later. While the connection stands, NFS
4 waits for its answer without end. Source: nfs(5), mount(8) `--internal-only`,
Documentation/admin-guide/nfs/nfs-client.rst; fs/nfs/fs_context.c::

    mount_export(Export("nas.example", "/vm"), Path("/var/lib/flashvisor/storage/vm"))
"""

from __future__ import annotations

import logging
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError, CommandTimeoutError, NfsError
from flashvisor.host import mount

if TYPE_CHECKING:
    from flashvisor.model.nfsexport import Export

log = logging.getLogger(__name__)

LOST_LOCKS = Path("/sys/module/nfs/parameters/recover_lost_locks")  # there once the module is loaded
PORT = 2049  # RFC 7530, 3.1
KNOCK = 3.0  # seconds that a server has to accept a connection: mount(2) itself would wait for minutes
LIMIT = 30.0  # seconds for it to take part in a mount: one that accepts and says nothing is waited for without end
VERSIONS = ("4.2", "4.1")  # the kernel does not go down by itself
# timeo is in tenths of a second, and grows by itself once: 10 + 20 s. Names of users are numbers: no idmapper is here.
OPTIONS = "softerr,timeo=100,retrans=1,proto={proto},noatime,nodev,nosuid,noexec"


def mount_export(export: Export, target: Path) -> None:
    """Mounts an export; the target directory is made when it is not there.

    Raises:
        NfsError: the server's name is unknown, it does not answer, or it refuses.
    """
    address, proto = _find(export.host)
    source = f"[{export.host}]:{export.path}" if ":" in export.host else f"{export.host}:{export.path}"
    refusals = []
    for version in VERSIONS:
        options = f"vers={version},addr={address},{OPTIONS.format(proto=proto)}"
        try:
            mount.mount(source, target, kind="nfs4", options=options, internal=True, limit=LIMIT)
        except CommandFailedError as error:
            refusals.append(error.evidence)
        except CommandTimeoutError as error:
            what = f"{source} cannot be mounted: {address} accepts connections, and says nothing for {LIMIT:.0f} s"
            raise NfsError(what, evidence=error.evidence) from error
        else:
            log.info("%s is mounted with NFS %s from %s", source, version, address)
            _keep_locks()
            return
    raise NfsError(f"{source} cannot be mounted: {address} answers, and refuses", evidence="\n".join(refusals))


def _keep_locks() -> None:
    """Has the kernel take a lock again that a server forgot: else each file that QEMU locked fails for ever.

    What the kernel warns of, somebody else writing in between, cannot be: a guest's disk belongs to one server.
    Source: Documentation/admin-guide/kernel-parameters.txt, nfs.recover_lost_locks.
    """
    try:
        LOST_LOCKS.write_text("Y")
    except OSError as error:
        log.warning("locks that an NFS server forgets stay lost: %s", error)


def _find(host: str) -> tuple[str, str]:
    """Returns the first of a server's addresses that accepts a connection, and the kernel's word for its transport."""
    try:
        found = socket.getaddrinfo(host, PORT, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NfsError(f"the NFS server {host} has no address: {error.strerror}") from error
    refusals = []
    for family, _kind, _protocol, _name, place in found:
        address = str(place[0])
        try:
            socket.create_connection((address, PORT), timeout=KNOCK).close()
        except OSError as error:
            refusals.append(f"{address}: {error.strerror or error}")
        else:
            return address, "tcp6" if family == socket.AF_INET6 else "tcp"
    raise NfsError(f"the NFS server {host} does not answer at port {PORT}", evidence="\n".join(refusals))

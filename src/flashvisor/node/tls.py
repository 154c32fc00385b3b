"""The TLS side of the API: who may talk to this server. Clients must show a certificate of the owner's CA.

Owns the SSL context. Certificates are made elsewhere (trust/).

Example::

    context = server_context(identity, Path("/run/flashvisor/tls"))
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import BadIdentityError

if TYPE_CHECKING:
    import ssl

    from flashvisor.model.record import Identity


def server_context(identity: Identity, scratch: Path) -> ssl.SSLContext:
    """Returns a context that proves the server's name and demands a client certificate of its owner's CA.

    Args:
        identity: The server's key and certificates (PEM).
        scratch: A directory on tmpfs, readable by root only: OpenSSL takes the key from a file. It is taken away again.

    Raises:
        BadIdentityError: the certificates or the key cannot be used.
    """
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch.chmod(0o700)
    handle, name = tempfile.mkstemp(dir=scratch)  # made with mode 0600
    path = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(f"{identity.node_cert_pem}\n{identity.node_key_pem}\n")
        context.load_cert_chain(path)
        context.load_verify_locations(cadata=identity.owner_ca_pem)
    except (ssl.SSLError, ValueError) as error:
        raise BadIdentityError(f"the identity of {identity.node_name} cannot be used", evidence=str(error)) from error
    finally:
        path.unlink(missing_ok=True)
    return context

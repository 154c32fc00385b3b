"""Why a server did not answer, in our words: not there, a stranger, or one that does not admit us. Admin side only.

Example::

    except httpx.TransportError as error:
        raise failure(error, address, tls) from error
"""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

import httpx
from websockets.exceptions import ConnectionClosed, InvalidMessage

from flashvisor.errors import FlashvisorError, ForeignNodeError, NodeUnreachableError, NotAdmittedError
from flashvisor.trust.certificates import SERVER_ALIAS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flashvisor.api.address import Address

CONNECT_TIMEOUT = 10.0  # seconds
REFUSAL_TIMEOUT = 2.0  # seconds; a server that refuses a certificate hangs up at once
# What OpenSSL says when the other side refused our certificate (RFC 8446, 6.2).
REFUSALS = ("ALERT_CERTIFICATE", "ALERT_BAD_CERTIFICATE", "ALERT_UNKNOWN_CA", "CERTIFICATE_REQUIRED", "ACCESS_DENIED")
# The connection stood, and then there was no answer.
HUNG_UP = (
    *(httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError),
    *(InvalidMessage, ConnectionClosed, ConnectionError),
)


def failure(error: Exception, address: Address, tls: ssl.SSLContext) -> FlashvisorError:
    """Says in our words why there was no answer.

    Args:
        error: What httpx, websockets or the socket raised.
        address: The server's.
        tls: The client's settings, to look once more.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ForeignNodeError(
                f"{address}: the server's certificate is not one of this owner's: {cause.verify_message}",
                evidence=str(cause),
            )
        if isinstance(cause, ssl.SSLError) and any(words in (cause.reason or "") for words in REFUSALS):
            return NotAdmittedError(f"{address} refused this client's certificate", evidence=str(cause))
    if isinstance(error, HUNG_UP) and _is_refused(address, tls):
        return NotAdmittedError(f"{address} refused this client's certificate", evidence=str(error))
    return NodeUnreachableError(f"{address} does not answer", evidence=str(error) or type(error).__name__)


def _is_refused(address: Address, tls: ssl.SSLContext) -> bool:
    """Looks whether the server hangs up as soon as it has seen our certificate, before any request.

    In TLS 1.3 the client's handshake ends before the server has checked the certificate (RFC 8446, 4.4.2.4), and
    asyncio servers close the connection without sending the alert that would say why.
    """
    place = (address.host, address.port)
    try:
        with (
            socket.create_connection(place, timeout=CONNECT_TIMEOUT) as plain,
            tls.wrap_socket(plain, server_hostname=SERVER_ALIAS) as secured,
        ):
            secured.settimeout(REFUSAL_TIMEOUT)
            return _hangs_up(secured)
    except OSError:
        return False  # nobody is there, or a router that stands in for a server that is off


def _hangs_up(connection: ssl.SSLSocket) -> bool:
    try:
        return connection.recv(1) == b""
    except TimeoutError:
        return False  # it waits for a request: we are admitted
    except OSError as error:
        return isinstance(error, (ConnectionResetError, ssl.SSLError))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

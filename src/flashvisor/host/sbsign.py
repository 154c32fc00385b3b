"""sbsign and sbverify: Authenticode signatures on UEFI executables. Source: sbsign(1), sbverify(1).

Example::

    sign(image, output, key=keyring.db.key, cert=keyring.db.cert)
    verify(output, keyring.db.cert)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.errors import BadSignatureError, CommandFailedError
from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

# sbverify's own words for "this file is not signed by that key"; anything else is a failure of the tool.
REFUSALS = ("Signature verification failed", "No signature table present")


def version() -> str:
    """Returns sbsign's version (Debian package sbsigntool).

    Raises:
        ToolMissingError: it is not installed.
    """
    return run(["sbsign", "--version"]).stdout.split()[-1]


def sign(image: Path, output: Path, *, key: Path, cert: Path) -> None:
    """Writes a signed copy of a UEFI executable.

    Args:
        image: A PE file.
        output: Where the signed copy goes; may not be the image itself.
        key: RSA private key, PEM.
        cert: Its certificate, PEM.

    Raises:
        ToolMissingError: sbsign is not installed.
        CommandFailedError: not a PE file, or a key that does not fit.
    """
    run(["sbsign", "--key", key, "--cert", cert, "--output", output, image])


def verify(image: Path, cert: Path) -> None:
    """Checks that an image is signed by a certificate's key.

    Raises:
        BadSignatureError: it is not signed, signed by someone else, or was changed after signing.
        CommandFailedError: sbverify could not read it.
    """
    try:
        run(["sbverify", "--cert", cert, image])
    except CommandFailedError as error:
        if any(words in error.evidence for words in REFUSALS):
            raise BadSignatureError(f"{image} is not signed by {cert}", evidence=error.evidence) from error
        raise

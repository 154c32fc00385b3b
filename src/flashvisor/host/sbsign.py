"""sbsign, sbverify, sbattach: Authenticode signatures on UEFI executables. Source: their manual pages (section 1).

Example::

    with keyring.unlocked("db") as files:
        sign(image, output, key=files.key, cert=files.cert)
        verify(output, files.cert)
"""

from __future__ import annotations

import re
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


def sign_detached(image: Path, output: Path, *, key: Path, cert: Path) -> None:
    """Writes the signature alone (PKCS #7, DER); see `sign`. The image may be signed already: that changes nothing."""
    run(["sbsign", "--detached", "--key", key, "--cert", cert, "--output", output, image])


def attach(image: Path, signature: Path) -> None:
    """Adds a signature to an image, in place, behind those that it has.

    Source: sbattach(1), --attach.
    """
    run(["sbattach", "--attach", signature, image])


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


def signatures(image: Path) -> list[str]:
    """Returns the subjects of the certificates that an image is signed with, one for each signature.

    Raises:
        CommandFailedError: sbverify could not read it.
    """
    said = run(["sbverify", "--list", image]).stdout
    subjects = []
    for part in re.split(r"^signature \d+$", said, flags=re.MULTILINE)[1:]:
        found = re.search(r"^ - subject: (.*)$", part, flags=re.MULTILINE)
        subjects.append(found.group(1) if found else "unknown")
    return subjects


def strip(image: Path) -> None:
    """Takes all signatures off an image, in place.

    Source: sbattach(1), --remove.
    """
    while signatures(image):
        run(["sbattach", "--remove", image])

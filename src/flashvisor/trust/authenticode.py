"""An image under the owner's db key, wherever that lies.

sbsign takes a private key as a file only; its engines reach tokens through libp11, which stumbles over a token that
holds ed25519 keys as well (ADR 0021). So for a key on a token sbsign signs with a key of the moment, and the token
signs what sbsign wrote anew: hash of the image, form and attributes stay sbsign's::

    sign(image, output, keyring)
    resigned(pkcs7, signer)        # pure

Source: RFC 5652, 5.3 and 5.4 (SignerInfo, and what its signature covers); Windows Authenticode PE Signature Format.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from asn1crypto import cms
from asn1crypto import x509 as asn1_x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from flashvisor.host import clock, sbsign
from flashvisor.host.memory import memory_file
from flashvisor.trust import certificates
from flashvisor.trust.certificates import Purpose

if TYPE_CHECKING:
    from flashvisor.trust.certificates import SigningKey
    from flashvisor.trust.keyring import Keyring


def sign(image: Path, output: Path, keyring: Keyring) -> None:
    """Writes a signed copy of a UEFI executable.

    Args:
        image: A PE file, signed or not; other signatures stay.
        output: Where the signed copy goes; may not be the image itself.
        keyring: Its db key signs.

    Raises:
        CommandFailedError: not a PE file.
        TokenMissingError, WrongPinError, TokenKeyMissingError: the key is on a token, and out of reach.
    """
    if not keyring.on_token("db"):
        with keyring.unlocked("db") as files:
            sbsign.sign(image, output, key=files.key, cert=files.cert)
        return
    moment = certificates.make_signer("flashvisor", keyring.owner, Purpose.SECURE_BOOT, clock.now())
    with tempfile.TemporaryDirectory() as scratch:
        signature = Path(scratch) / "signature"
        with memory_file(moment.cert_pem) as cert, memory_file(moment.key_pem) as key:
            sbsign.sign_detached(image, signature, key=key, cert=cert)
        signature.write_bytes(resigned(signature.read_bytes(), keyring.signing("db")))
        shutil.copyfile(image, output)
        sbsign.attach(output, signature)


def resigned(pkcs7: bytes, signer: SigningKey) -> bytes:
    """Returns a signature of sbsign's under another key: certificate, its name, and the signature are replaced.

    Args:
        pkcs7: ContentInfo, DER, with one RSA signer and SHA-256.
        signer: RSA key and certificate.
    """
    if not isinstance(signer.key, rsa.RSAPrivateKey):
        raise TypeError("Secure Boot's keys are RSA keys")
    whole = cms.ContentInfo.load(pkcs7)
    info = whole["content"]["signer_infos"][0]
    certificate = asn1_x509.Certificate.load(certificates.to_der(signer.cert_pem))
    name = {"issuer": certificate.issuer, "serial_number": certificate.serial_number}
    whole["content"]["certificates"] = cms.CertificateSet([cms.CertificateChoices("certificate", certificate)])
    info["sid"] = cms.SignerIdentifier("issuer_and_serial_number", cms.IssuerAndSerialNumber(name))
    covered = info["signed_attrs"].untag().dump()  # as SET OF, not under the [0] that it has in its place
    info["signature"] = signer.key.sign(covered, padding.PKCS1v15(), hashes.SHA256())
    return bytes(whole.dump(force=True))

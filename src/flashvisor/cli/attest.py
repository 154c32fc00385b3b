"""`flashvisor attest`: what a server's TPM says that it started, compared with what should run there."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.passphrase import ask
from flashvisor.cli.pins import Pin, Pins, default_path
from flashvisor.cli.session import connect, json_option
from flashvisor.errors import OtherMeasurementsError, OtherTpmError, UnreadableFileError
from flashvisor.host.tpm import Quote
from flashvisor.model.measurement import Measurements, decode
from flashvisor.trust import attest, secureboot
from flashvisor.trust.keyring import Keyring, default_directory

if TYPE_CHECKING:
    from flashvisor.trust.attest import Finding

NONCE = 32  # bytes


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What `--json` prints. `code` is empty if all is as expected."""

    address: str
    image: str
    tpm: str
    first: bool
    code: str
    findings: tuple[attest.Finding, ...]


@click.command("attest")
@click.argument("node", default="", metavar="[NODE]")
@click.option(
    "--image",
    type=click.Path(path_type=Path),
    default=Path("build/kvm/measurements.json"),
    show_default=True,
    help="Measurements of the image that should run.",
)
@click.option("--without-secure-boot", is_flag=True, help="Your keys are not in this server: look at the image alone.")
@click.option("--renew", is_flag=True, help="Take its TPM and its firmware, as they are now, for the server's own.")
@json_option
def command(node: str, image: Path, *, without_secure_boot: bool, renew: bool, as_json: bool) -> None:
    """Ask a server's TPM what the server started, and say what differs from what it should be.

    NODE is HOST[:PORT] or a name given by `flashvisor node use`. The first attest remembers the server's TPM and its
    firmware; later ones compare. Who made the TPM is not checked.
    """
    expected = _expected(image)
    owner = None if without_secure_boot else secureboot.contents(Keyring.open(default_directory(), ask))
    nonce = secrets.token_bytes(NONCE)
    with connect(node) as client:
        report = client.attest(nonce, attest.PCRS)
        address = client.address.authority
    measured = attest.read(Quote(report.quoted, report.signature, report.key, report.values, report.log), nonce)
    pins = Pins.load(default_path())
    known = None if renew else pins.known(address)
    if known and known.key != measured.key:
        raise OtherTpmError(f"{address}: expected the TPM whose key is {known.key}, got one with {measured.key}")
    findings = attest.compare(measured, expected, owner=owner, known=known.firmware if known else None)
    bad = [each for each in findings if not each.good]
    if not known and not bad:
        pins.remember(address, Pin(key=measured.key, firmware=measured.firmware()))
    if as_json:
        code = OtherMeasurementsError.code if bad else ""
        print_json(
            Verdict(
                address=address, image=expected.title, tpm=measured.key, first=not known, code=code, findings=findings
            )
        )
        click.get_current_context().exit(OtherMeasurementsError.exit_status if bad else 0)
    _print(findings, measured.key, first=not known, remembered=not bad)
    if bad:
        raise OtherMeasurementsError(
            f"{address}: {len(bad)} of {len(findings)} things are not as they should be",
            evidence="\n".join(f"PCR {each.pcr}: {each.what}" for each in bad),
        )


def _expected(path: Path) -> Measurements:
    try:
        return decode(path.read_bytes(), str(path))
    except OSError as error:
        raise UnreadableFileError(
            f"{path} cannot be read: {error.strerror}",
            next_step="`flashvisor build` writes build/kvm/measurements.json; name another file with --image.",
        ) from error


def _print(findings: tuple[Finding, ...], key: str, *, first: bool, remembered: bool) -> None:
    print_table(
        ["", "PCR", ""],
        [["as it should be" if each.good else "DIFFERS", str(each.pcr), each.what] for each in findings],
    )
    seen = "seen for the first time" if first else "the one seen before"
    click.echo(f"TPM: key {key}, {seen}" + (", remembered from now on" if first and remembered else ""))

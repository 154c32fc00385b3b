"""`flashvisor build`: the image and the flash device that holds it."""

from __future__ import annotations

from pathlib import Path

import click

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.cli.ledger import show_ledger
from flashvisor.cli.output import print_json
from flashvisor.cli.session import json_option
from flashvisor.image.build import build
from flashvisor.image.flashfile import flash_image
from flashvisor.image.sbom import write_sboms
from flashvisor.model.size import show_size

DEFAULT_OUTPUT = Path("build/kvm")


@click.command("build")
@click.option("--output", type=click.Path(path_type=Path), default=DEFAULT_OUTPUT, show_default=True)
@click.option("--name", default="flashvisor", show_default=True, help="Name in the server's certificate.")
@json_option
def command(output: Path, name: str, as_json: bool) -> None:
    """Build flashvisor.efi, flash.img, ledger.json and the SBOMs."""
    cache, keyring = open_cache(), open_keyring()
    result = build(cache, keyring, output)
    flash = flash_image(result.efi, output / "flash.img", keyring, name)
    sboms = write_sboms(cache, result.entries, output)
    if as_json:
        files = {"efi": str(result.efi), "flash": str(flash), "sboms": [str(path) for path in sboms]}
        print_json(files | {"slot_bytes": result.ledger.slot_bytes})
        return
    show_ledger(result.ledger)
    click.echo(f"\n{result.efi}  {show_size(result.ledger.slot_bytes)}\n{flash}  {show_size(flash.stat().st_size)}")

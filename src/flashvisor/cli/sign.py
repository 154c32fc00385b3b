"""`flashvisor sign`: the owner's signature on somebody else's image."""

from __future__ import annotations

from pathlib import Path

import click

from flashvisor.cli.output import print_fields, print_json
from flashvisor.cli.passphrase import ask, ask_pin
from flashvisor.cli.session import json_option
from flashvisor.image.countersign import countersign
from flashvisor.model.size import show_size
from flashvisor.trust.keyring import Keyring, default_directory


@click.command("sign")
@click.argument("image", type=click.Path(path_type=Path))
@click.option("--sha256", required=True, help="What the image's SHA-256 must be, from where you trust it.")
@click.option("--output", type=click.Path(path_type=Path), help="Where the signed copy goes; onto IMAGE if left out.")
@click.option("--replace", is_flag=True, help="Take off the signatures that it came with.")
@json_option
def command(image: Path, sha256: str, output: Path | None, replace: bool, as_json: bool) -> None:
    """Sign a flashvisor.efi that somebody else built.

    It must be the file with that SHA-256, a flashvisor.efi, and fit a slot. Your servers will start it.
    """
    target = output or image
    keyring = Keyring.open(default_directory(), ask, ask_pin)
    done = countersign(image, target, keyring, sha256=sha256, replace=replace)
    if as_json:
        print_json(done)
        return
    print_fields(
        [
            ("signed", f"{target}  {show_size(done.size)}"),
            ("SHA-256", done.sha256),
            ("came signed by", ", ".join(done.before) or "nobody"),
            ("is signed by", ", ".join(done.after)),
        ]
    )

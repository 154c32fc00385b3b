"""`flashvisor ledger`: what every byte of the image is for."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from flashvisor.cli.output import print_json, print_table
from flashvisor.cli.session import json_option
from flashvisor.errors import UnreadableFileError
from flashvisor.image.ledger import Ledger


@click.command("ledger")
@click.option("--output", type=click.Path(path_type=Path), default=Path("build/kvm"), show_default=True)
@json_option
def command(output: Path, as_json: bool) -> None:
    """Show the size ledger of the image that was built last."""
    path = output / "ledger.json"
    if not path.is_file():
        raise UnreadableFileError(f"there is no ledger at {path}", next_step="Build the image: `flashvisor build`.")
    ledger = msgspec.json.decode(path.read_bytes(), type=Ledger)
    if as_json:
        print_json(ledger)
    else:
        show_ledger(ledger)


def show_ledger(ledger: Ledger) -> None:
    """Prints a ledger as a table whose last row is the file."""
    rows = [
        [
            row.name,
            f"{row.bytes:,}",
            f"{row.limit:,}",
            f"{row.bytes * 100 // max(row.limit, 1)} %",
            f"{row.raw_bytes:,}",
        ]
        for row in sorted(ledger.components, key=lambda row: -row.bytes)
    ]
    total = ["flashvisor.efi", f"{ledger.slot_bytes:,}", f"{ledger.limit_bytes:,}"]
    used = f"{ledger.slot_bytes * 100 // ledger.limit_bytes} %"
    raw = f"{sum(row.raw_bytes for row in ledger.components):,}"
    print_table(["component", "bytes", "limit", "used", "uncompressed"], [*rows, [*total, used, raw]])

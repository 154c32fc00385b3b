"""What commands print of a server's flash: short for `node show`, all of it for `node wear`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from flashvisor.cli.output import print_fields, print_table
from flashvisor.model.size import show_size

if TYPE_CHECKING:
    from flashvisor.api.types import FlashReport


def short_fields(flash: FlashReport) -> list[tuple[str, str]]:
    """Returns the lines of `node show`."""
    since, life = show_size(flash.booked_since_boot), show_size(flash.written)
    return [("flash written", f"{since} since power-on, {life} over its life"), ("flash life", flash.forecast)]


def print_wear(flash: FlashReport) -> None:
    """Prints all that is known of the wear."""
    counted = "not compared: a slot is being written, or nothing counts"
    if flash.counted_since_boot is not None:
        same = "the same" if flash.counted_since_boot == flash.booked_since_boot else "NOT THE SAME"
        counted = f"{show_size(flash.counted_since_boot)} ({flash.counted_since_boot} bytes): {same}"
    factor = "" if flash.amplification is None else f", {flash.amplification:.1f} for each byte written (estimate)"
    print_fields(
        [
            ("device", f"{flash.device}; {flash.health}".removeprefix("; ")),
            ("written, over its life", show_size(flash.written)),
            ("erased for it", f"{show_size(flash.worn)} (estimate){factor}"),
            ("forecast", flash.forecast),
            ("written since boot", f"{show_size(flash.booked_since_boot)} ({flash.booked_since_boot} bytes)"),
            ("counted by the kernel", counted),
            ("written today", f"{show_size(flash.today)} of {show_size(flash.daily_budget)} a day"),
        ]
    )
    click.echo()
    by_cause = sorted(flash.by_cause.items(), key=lambda item: -item[1])
    print_table(["cause", "bytes"], [[cause, str(count)] for cause, count in by_cause])
    click.echo()
    print_table(
        ["day (UTC)", "bytes", "for"],
        [
            [day, str(sum(row.values())), ", ".join(f"{cause} {show_size(count)}" for cause, count in row.items())]
            for day, row in sorted(flash.by_day.items(), reverse=True)
        ],
    )

"""The tables of docs/reliability.md: what was cut, how often, and what ran afterwards.

rows = [row("rollback", tally)]
put_table(Path("docs/reliability.md"), rows, total)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sim.cuts import Tally

END = "<!-- end of table -->\n"


@dataclass(frozen=True)
class Table:
    """A table of the page: the comment before it, which names what makes it, and its head."""

    begin: str
    head: str


CUTS = Table(
    "<!-- table: make soak -->\n",
    "| what was cut | cuts | distinct points | what ran afterwards (times) |\n|---|---|---|---|\n",
)
PULLS = Table(
    "<!-- table: plugs pulled -->\n",
    "| pulled during | pulls | of them with writes that no flush had followed | what ran afterwards (times) |\n"
    "|---|---|---|---|\n",
)
WRITES = Table(
    "<!-- table: writes replayed -->\n",
    "| writes that no flush had followed | cuts | what runs where firmware forgot all (times) |\n|---|---|---|\n",
)


def row(name: str, tally: Tally) -> str:
    """Returns a scenario's line."""
    ran = ", ".join(f"{image} {count:,}" for image, count in sorted(tally.ran.items()))
    return f"| {name} | {tally.ran.total():,} | {len(tally.points):,} | {ran} |\n"


def put_table(page: Path, rows: Sequence[str], total: str, table: Table = CUTS) -> None:
    """Puts a table in the place of the one that the page holds."""
    text = page.read_text()
    before = text.index(table.begin) + len(table.begin)
    after = text.index(END, before)
    page.write_text(text[:before] + table.head + "".join(rows) + total + text[after:])

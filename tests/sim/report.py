"""The table of docs/reliability.md: what was cut, how often, and what ran afterwards.

rows = [row("rollback", events=12, tally=tally)]
put_table(Path("docs/reliability.md"), rows)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sim.cuts import Tally

BEGIN, END = "<!-- table: make soak -->\n", "<!-- end of table -->\n"
HEAD = "| what was cut | cuts | distinct points | what ran afterwards (times) |\n|---|---|---|---|\n"


def row(name: str, tally: Tally) -> str:
    """Returns a scenario's line."""
    ran = ", ".join(f"{image} {count:,}" for image, count in sorted(tally.ran.items()))
    return f"| {name} | {tally.ran.total():,} | {len(tally.points):,} | {ran} |\n"


def put_table(page: Path, rows: Sequence[str], total: str) -> None:
    """Puts the table in the place of the one that the page holds."""
    text = page.read_text()
    before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
    page.write_text(text[:before] + HEAD + "".join(rows) + total + text[after:])

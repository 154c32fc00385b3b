"""Runs a command and draws its output as an SVG picture of a terminal: the README's picture of `make try`.

.venv/bin/python docs/record.py docs/make-try.svg make try
"""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

WIDTH = 110  # columns


def main(picture: Path, command: list[str]) -> int:
    """Shows the output as it comes, and keeps it."""
    console = Console(record=True, width=WIDTH, file=io.StringIO())
    console.print(Text(f"$ {' '.join(command)}", style="bold"))
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout or ():
            sys.stdout.write(line)
            sys.stdout.flush()
            console.print(Text(line.rstrip("\n")))
    console.save_svg(str(picture), title=" ".join(command))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))

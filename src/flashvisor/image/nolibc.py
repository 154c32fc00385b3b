"""Static programs of a few KB, compiled against the kernel's nolibc: no library, only system calls.

Owns how they are compiled. What they do stands in their sources (recipe/init.c)::

    compile_program(shop, linux / "nolibc", source, "initrd/init")

Source: tools/include/nolibc/nolibc.h in the kernel's source.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.workshop import Workshop

FLAGS = (
    "-Os",
    "-static",
    "-nostdlib",
    "-fno-asynchronous-unwind-tables",
    "-fno-stack-protector",
    "-Wall",
    "-Werror",
)


def compile_program(shop: Workshop, nolibc: Path, source: str, output: str) -> None:
    """Compiles a program into `output`, a name within the workshop's directory.

    Args:
        shop: A workshop in the build root.
        nolibc: The kernel's nolibc directory, from the step that builds the kernel.
        source: C text that includes "nolibc.h".
        output: Its directory exists.

    Raises:
        CommandFailedError: the source is wrong.
    """
    shutil.copytree(nolibc, shop.work / "nolibc", dirs_exist_ok=True)
    (shop.work / "program.c").write_text(source)
    shop.run("gcc", *FLAGS, "-I/mnt/nolibc", "-o", f"/mnt/{output}", "/mnt/program.c", "-lgcc")
    shop.run("strip", "--strip-all", f"/mnt/{output}")

"""The QEMU that virtual servers run in: Debian 13's, out of the tree of packages, whatever the host's version is.

One lab on Debian 12 and 13 (docs/adr/0011, which also says what this QEMU cannot do yet). It is started through its
own dynamic linker, so that nothing is installed::

    spec = ServerSpec(name="alpha", flash=flash, qemu=lab_qemu(cache))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.image.cache import Step
from flashvisor.image.trees import root_packages

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.cache import Cache

NAME = "qemu-system-x86_64"
SCRIPT = """\
#!/bin/sh
QEMU_MODULE_DIR={tree}/usr/lib/x86_64-linux-gnu/qemu
export QEMU_MODULE_DIR
exec {tree}/usr/lib64/ld-linux-x86-64.so.2 --library-path {tree}/usr/lib/x86_64-linux-gnu \\
  {tree}/usr/bin/{name} -L {tree}/usr/share/qemu -L {tree}/usr/share/seabios "$@"
"""


def lab_qemu(cache: Cache) -> Path:
    """Returns a program that is called as qemu-system-x86_64 is."""
    text = SCRIPT.format(tree=root_packages(cache), name=NAME)

    def build(place: Path) -> None:
        (place / NAME).write_text(text)
        (place / NAME).chmod(0o755)

    return cache.get(Step("labqemu", inputs={"script": text}, build=build, expected=0)) / NAME

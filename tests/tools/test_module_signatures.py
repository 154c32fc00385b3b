"""The image's kernel modules carry the owner's signature, and OpenSSL confirms it.

The signature stands behind the module: CMS, 12 bytes of which the last four are its length, and a marker
(Linux, include/linux/module_signature.h).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from flashvisor.cli.buildtools import open_cache, open_keyring
from flashvisor.errors import CommandFailedError
from flashvisor.host.bubblewrap import enter
from flashvisor.image.trees import build_root

if TYPE_CHECKING:
    from pathlib import Path

    from flashvisor.image.build import BuildResult

pytestmark = pytest.mark.tools

MARKER = b"~Module signature appended~\n"
HEAD = 12  # bytes between signature and marker
VERIFY = (
    "openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", "/mnt/signature", "-content", "/mnt/module",
    "-certfile", "/mnt/owner.pem", "-nointern", "-noverify", "-out", "/dev/null",
)  # fmt: skip


@pytest.fixture
def work(built_image: BuildResult, tmp_path: Path) -> Path:
    """A directory with kvm.ko taken apart, and the owner's certificate."""
    (source,) = (entry.source for entry in built_image.entries if entry.path.endswith("/kvm.ko"))
    assert source
    rest = source.read_bytes()
    assert rest.endswith(MARKER)
    rest = rest[: -len(MARKER)]
    length = int.from_bytes(rest[-4:], "big")
    (tmp_path / "signature").write_bytes(rest[-HEAD - length : -HEAD])
    (tmp_path / "module").write_bytes(rest[: -HEAD - length])
    (tmp_path / "owner.pem").write_text(open_keyring().module_key)
    return tmp_path


def test_the_owner_has_signed_the_modules(work: Path) -> None:
    enter(build_root(open_cache()), VERIFY, binds={work: "/mnt"})


def test_a_module_with_one_flipped_bit_is_not_the_owners(work: Path) -> None:
    module = bytearray((work / "module").read_bytes())
    module[1000] ^= 1
    (work / "module").write_bytes(module)
    with pytest.raises(CommandFailedError):
        enter(build_root(open_cache()), VERIFY, binds={work: "/mnt"})

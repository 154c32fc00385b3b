"""The Debian guest's own files, filled in."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from flashvisor.image import guestdisk

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_kernel_and_fstab_name_the_same_root() -> None:
    files = guestdisk.own_files()
    root = f"UUID={guestdisk.ROOT_UUID}"
    assert f"root={root}" in files["etc/kernel/cmdline"].decode().split()
    assert [line.split()[1] for line in files["etc/fstab"].decode().splitlines() if line.startswith(root)] == ["/"]


def test_no_mark_is_left() -> None:
    assert not [name for name, data in guestdisk.own_files().items() if b"@ROOT_UUID@" in data]


def test_nobody_gets_in_by_password_or_with_a_key_that_others_have() -> None:
    files = guestdisk.own_files()
    assert b"PasswordAuthentication no" in files["etc/ssh/sshd_config.d/50-cloud-init.conf"]
    assert not [name for name in files if "ssh_host_" in name or "authorized_keys" in name]


def test_a_tree_loses_its_secrets_and_its_identity(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc/ssh").mkdir(parents=True)
    (tmp_path / "boot").mkdir()
    (tmp_path / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    for kind in ("rsa", "ed25519"):
        (tmp_path / f"etc/ssh/ssh_host_{kind}_key").write_text("secret")
    calls: list[list[str]] = []
    monkeypatch.setattr(guestdisk, "enter", lambda tree, argv, **_: calls.append(list(argv)))
    guestdisk.prepare(tmp_path, guestdisk.guest_system())
    assert not list((tmp_path / "etc/ssh").glob("ssh_host_*"))
    assert (tmp_path / "etc/machine-id").read_bytes() == b""
    assert stat.S_IMODE((tmp_path / guestdisk.KERNEL_HOOK.lstrip("/")).stat().st_mode) == 0o755
    assert stat.S_IMODE((tmp_path / "etc/fstab").stat().st_mode) == 0o644
    assert ["systemctl", "--root=/mnt", "mask", *guestdisk.MASKED] in calls

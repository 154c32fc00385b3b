"""The sandbox for programs that read what strangers wrote, and the one way to follow a program's output."""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError, CommandTimeoutError, ExplodingImageError
from flashvisor.host import jailed_qemu_img
from flashvisor.host.bubblewrap import Limits, jail
from flashvisor.host.jailed_qemu_img import QCOW2, Source, convert
from flashvisor.host.run import follow, run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools
LIMITS = Limits(memory=1 << 30, file_size=1 << 20, cpu=5)
XFSZ, XCPU = 128 + 25, 128 + 24  # signal(7): a file too large, too much CPU time


def inside(tmp_path: Path, script: str, *, accept: tuple[int, ...] = ()) -> str:
    """Runs a shell script in a jail with one readable file and one writable directory."""
    (tmp_path / "given").write_text("given")
    (tmp_path / "out").mkdir(exist_ok=True)
    words = jail(readable={tmp_path / "given": "/in/disk"}, writable={tmp_path / "out": "/out"}, limits=LIMITS)
    return run([*words, "sh", "-c", script], accept=accept).stdout


def test_it_sees_what_was_given_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    assert inside(tmp_path, "cat /in/disk; echo made > /out/file") == "given"
    assert (tmp_path / "out" / "file").read_text() == "made\n"
    assert inside(tmp_path, "ls /").split() == sorted(["bin", "dev", "etc", "in", "lib", "lib64", "out", "usr"])
    assert inside(tmp_path, "ls /in /etc").split() == ["/etc:", "ld.so.cache", "/in:", "disk"]
    assert inside(tmp_path, f"cat {tmp_path}/secret /etc/passwd 2>/dev/null || echo no") == "no\n"
    assert set(inside(tmp_path, "env").split()) >= {"PATH=/usr/bin"}
    assert "HOME" not in inside(tmp_path, "env")


def test_it_changes_nothing_that_it_may_only_read(tmp_path: Path) -> None:
    assert inside(tmp_path, "(echo x > /in/disk) 2>/dev/null || echo no") == "no\n"
    assert inside(tmp_path, "(echo x > /usr/x) 2>/dev/null || echo no") == "no\n"
    assert (tmp_path / "given").read_text() == "given"


def test_it_has_no_network_and_no_device(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()
        code = f"import socket; socket.create_connection({place}, 5); print('reached')"
        assert run(["/usr/bin/python3", "-c", code]).stdout == "reached\n"
        assert inside(tmp_path, f'/usr/bin/python3 -c "{code}" 2>/dev/null || echo no') == "no\n"
    assert "mem" not in inside(tmp_path, "ls /dev").split()
    assert not {"sda", "vda", "nvme0n1", "kvm"} & set(inside(tmp_path, "ls /dev").split())


def test_it_is_stopped_at_its_limits(tmp_path: Path) -> None:
    inside(tmp_path, "head -c 1000000 /dev/zero > /out/small")
    inside(tmp_path, "exec head -c 2000000 /dev/zero > /out/large", accept=(XFSZ,))
    assert (tmp_path / "out" / "large").stat().st_size == 1 << 20
    inside(tmp_path, "exec sh -c 'while :; do :; done'", accept=(XCPU,))


def test_a_conversion_that_computes_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(**words: object) -> list[str | Path]:
        return [*jail(**words), "sh", "-c", "while :; do :; done"]  # type: ignore[arg-type]

    monkeypatch.setattr(jailed_qemu_img, "jail", busy)
    source, target = Source(tmp_path / "given", "raw"), tmp_path / "out" / "disk"
    source.path.touch()
    target.parent.mkdir()
    limits = Limits(memory=1 << 30, file_size=1 << 20, cpu=1)
    with pytest.raises(ExplodingImageError, match="time to convert"):
        convert(source, target, QCOW2, limits, on_percent=lambda _: None)


def test_output_is_heard_as_it_comes() -> None:
    """The program waits for a word that it gets only when its first piece was heard."""
    ours, theirs = os.pipe()
    heard: list[str] = []

    def hear(text: str) -> None:
        heard.append(text)
        if len(heard) == 1:
            os.write(theirs, b"go\n")

    pipe = f"/proc/{os.getpid()}/fd/{ours}"
    script = f"import os; print('one', flush=True); os.read(os.open('{pipe}', os.O_RDONLY), 3); print('two')"
    try:
        assert follow([sys.executable, "-c", script], on_output=hear, timeout=60) == 0
    finally:
        os.close(ours)
        os.close(theirs)
    assert "".join(heard) == "one\ntwo\n"


def test_a_program_that_fails_or_hangs() -> None:
    with pytest.raises(CommandFailedError) as caught:
        follow(["sh", "-c", "echo why >&2; exit 3"], on_output=lambda _: None, timeout=60)
    assert caught.value.evidence.endswith("why")
    assert "status 3" in caught.value.what
    assert follow(["sh", "-c", "exit 3"], on_output=lambda _: None, timeout=60, accept=(3,)) == 3
    with pytest.raises(CommandTimeoutError):
        follow(["sleep", "60"], on_output=lambda _: None, timeout=0.2)


def test_what_its_listener_raises_ends_it() -> None:
    def raises(_text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        follow(["sh", "-c", "echo x; exec sleep 60"], on_output=raises, timeout=30)

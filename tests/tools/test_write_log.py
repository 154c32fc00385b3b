"""The write log that QEMU makes, by this machine's own qemu-io: read, and replayed to the medium as it was."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from flashvisor.host.run import run
from flashvisor.lab.machine import logged
from flashvisor.lab.writelog import Flag, parse, replay, waiting

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.tools

SIZE = 1 << 20


class Device:
    """A medium with its write log, and qemu-io in the server's place."""

    def __init__(self, place: Path) -> None:
        self.medium, self.log = (
            place / "flash,1.img",
            place / "flash,1.writes",
        )  # a comma ends a value in QEMU's options
        self.medium.write_bytes(bytes(SIZE))
        self.log.touch()
        # As servers have it: by default, qemu-io flushes after each write.
        self.call = ["qemu-io", "-t", "writeback", "--image-opts", logged(self.medium, self.log)]

    def do(self, *commands: str) -> None:
        """Carries commands out in one run, as of one power-on."""
        words = [word for command in commands for word in ("-c", command)]
        run([*self.call, *words])


@pytest.fixture
def device(tmp_path: Path) -> Device:
    return Device(tmp_path)


def test_what_was_written_can_be_played_again(device: Device) -> None:
    device.do("write -P 0x61 4096 1536", "flush", "write -P 0x62 4608 512", "write -z 4096 512")
    entries = parse(device.log.read_bytes())
    writes = [(each.offset, each.length) for each in entries if each.length]
    assert writes == [(4096, 1536), (4608, 512), (4096, 512)]
    first, flush, second, zeros = entries[:4]
    assert flush.flags is Flag.FLUSH
    assert (bytes(first.data), bytes(second.data), bytes(zeros.data)) == (b"a" * 1536, b"b" * 512, bytes(512))
    assert replay(entries, bytes(SIZE), len(entries)) == device.medium.read_bytes()
    assert waiting(entries, 4) == (2, 3)
    before = replay(entries, bytes(SIZE), 4, arrived={2: 0, 3: 0})
    assert before[4096 : 4096 + 2048] == b"a" * 1536 + bytes(512)


def test_the_next_power_on_goes_on_in_the_same_log(device: Device) -> None:
    device.do("write -P 0x61 0 512")
    first = len(parse(device.log.read_bytes()))
    device.do("write -P 0x62 512 512", "flush")
    entries = parse(device.log.read_bytes())
    assert len(entries) > first
    assert replay(entries, bytes(SIZE), len(entries)) == device.medium.read_bytes()


def test_a_qemu_that_is_killed_loses_no_entry(device: Device) -> None:
    with subprocess.Popen(device.call, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        assert program.stdin and program.stdout
        for command in ("write -P 0x61 0 65536", "write -P 0x62 4096 4096"):
            program.stdin.write(f"{command}\n")
            program.stdin.flush()
            while "wrote" not in (line := program.stdout.readline()):
                assert line, "qemu-io ended"
        program.kill()
    entries = parse(device.log.read_bytes())
    assert [each.length for each in entries] == [65536, 4096]
    assert replay(entries, bytes(SIZE), 2) == device.medium.read_bytes()

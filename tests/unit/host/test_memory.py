"""Files in memory: readable while they last, by children too, and gone afterwards."""

from __future__ import annotations

from flashvisor.host.memory import memory_file
from flashvisor.host.run import run


def test_a_child_reads_it_and_then_it_is_gone() -> None:
    with memory_file(b"secret\n") as path:
        assert path.read_bytes() == b"secret\n"
        assert run(["cat", path]).stdout == "secret\n"
    assert not path.exists()

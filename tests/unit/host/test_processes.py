"""Processes are stopped by mark: that one, and never the next holder of its number."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from flashvisor.errors import CommandFailedError, ToolMissingError
from flashvisor.host.processes import ProcessMark, alive, from_pid_file, mark, start_daemon, stop, wait_for_end

if TYPE_CHECKING:
    from collections.abc import Iterator

SLEEPER = "import time; print(flush=True); time.sleep(600)"
STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
"""


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", SLEEPER], stdout=subprocess.PIPE) as process:
        assert process.stdout
        process.stdout.readline()  # until then the kernel may not know its command line yet
        yield process
        process.kill()


def marked(process: subprocess.Popen[bytes]) -> ProcessMark:
    found = mark(process.pid)
    assert found is not None
    return found


def test_a_mark_names_a_running_process(child: subprocess.Popen[bytes]) -> None:
    assert alive(marked(child))
    assert marked(child) == marked(child)


def test_a_name_with_parentheses_and_blanks_is_read(tmp_path: Path) -> None:
    odd = tmp_path / "a) S (1 2"
    odd.symlink_to(sys.executable)
    with subprocess.Popen([odd, "-c", SLEEPER]) as process:
        assert alive(marked(process))
        process.kill()


@pytest.mark.parametrize("grace", [0, 5])
def test_stop_ends_it(child: subprocess.Popen[bytes], grace: float) -> None:
    process = marked(child)
    assert not wait_for_end(process, 0)
    stop(process, grace=grace)
    # Its parent has not heard yet, so it is a zombie: ended all the same.
    assert not alive(process)
    assert wait_for_end(process, 0)
    assert mark(child.pid) is None
    assert child.wait() == (-9 if grace == 0 else -15)


def test_who_ignores_the_request_is_stopped_by_force() -> None:
    with subprocess.Popen([sys.executable, "-c", STUBBORN], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        stop(marked(process), grace=0.1)
        assert process.wait() == -9


@pytest.mark.parametrize("change", [{"started": 1}, {"boot": "another"}])
def test_the_next_holder_of_a_number_is_left_alone(child: subprocess.Popen[bytes], change: dict[str, int]) -> None:
    recycled = replace(marked(child), **change)  # type: ignore[arg-type]
    assert not alive(recycled)
    assert wait_for_end(recycled, 5)
    stop(recycled, grace=0)
    assert child.poll() is None
    assert alive(marked(child))


def test_nobody_is_no_trouble() -> None:
    nobody = ProcessMark(pid=2**22 + 1, started=1, boot="x")  # above the kernel's largest number
    assert mark(nobody.pid) is None
    stop(nobody)
    assert wait_for_end(nobody, 5)


def test_waiting_returns_with_the_end_not_with_the_limit(child: subprocess.Popen[bytes]) -> None:
    process, begin = marked(child), time.monotonic()
    child.kill()
    assert wait_for_end(process, 60)
    assert time.monotonic() - begin < 30


def test_a_pid_file_counts_only_if_the_process_says_the_same(tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    file = tmp_path / "pid"
    assert from_pid_file(file) is None
    file.write_text("none")
    assert from_pid_file(file) is None
    file.write_text(f"{child.pid}\n")
    assert from_pid_file(file, mentions=SLEEPER) == marked(child)
    assert from_pid_file(file, mentions="/rack/alpha") is None
    assert from_pid_file(file, mentions=str(os.getpid()) + "no") is None


def test_a_daemon_outlives_its_starter_and_is_found(tmp_path: Path) -> None:
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    program = tmp_path / "daemon"
    # The child writes its number before the parent goes: what start_daemon relies on in QEMU and swtpm.
    program.write_text(
        f"#!{sys.executable}\nimport os, sys, time\nr, w = os.pipe()\n"
        "if os.fork():\n    os.read(r, 1)\n    os._exit(0)\nos.setsid()\n"
        "open(sys.argv[1], 'w').write(str(os.getpid()))\nos.write(w, b'.')\ntime.sleep(600)\n"
    )
    program.chmod(0o755)
    process = start_daemon([program, pid_file], pid_file=pid_file, log_to=log)
    try:
        assert alive(process)
        assert os.getsid(process.pid) == process.pid
    finally:
        stop(process)
    assert not alive(process)


def test_a_daemon_that_fails_or_ends_at_once_is_an_error(tmp_path: Path) -> None:
    pid_file, log = tmp_path / "pid", tmp_path / "log"
    pid_file.write_text(str(os.getpid()))  # of an earlier run: must not be taken for the new one
    with pytest.raises(CommandFailedError, match="as soon as"):
        start_daemon(["true"], pid_file=pid_file, log_to=log)
    with pytest.raises(CommandFailedError, match="status 1"):
        start_daemon(["false"], pid_file=pid_file, log_to=log)
    with pytest.raises(ToolMissingError):
        start_daemon(["no-such-program"], pid_file=pid_file, log_to=log)

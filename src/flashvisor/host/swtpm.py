"""swtpm: a TPM 2.0 in software, one process for each virtual server. Source: swtpm(8).

Example::

    mark = start(directory)      # state in directory/tpm, QEMU connects to directory/tpm.sock

It ends by itself when QEMU goes (`--terminate`), as a TPM loses power with its server; its state stays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flashvisor.host import processes
from flashvisor.host.run import run

if TYPE_CHECKING:
    from pathlib import Path

SOCKET = "tpm.sock"  # relative to the server's directory: socket addresses end at 108 bytes (unix(7))
STATE = "tpm"


def version() -> str:
    """Returns the first line of `swtpm --version`.

    Raises:
        ToolMissingError: swtpm is not installed.
    """
    return run(["swtpm", "--version"]).stdout.partition("\n")[0]


def socket_argv(directory: Path) -> list[str]:
    """Returns the call of a TPM whose files lie in a server's directory. Run it with that directory as cwd."""
    return [
        "swtpm", "socket", "--tpm2",
        "--tpmstate", f"dir={directory / STATE},mode=0600",
        "--ctrl", f"type=unixio,path={SOCKET},mode=0600",
        "--pid", f"file={directory / 'swtpm.pid'}",
        "--log", f"file={directory / 'swtpm.log'},level=1",
        "--terminate", "--daemon",
    ]  # fmt: skip


def start(directory: Path) -> processes.ProcessMark:
    """Powers a server's TPM; a new one gets its state on first use.

    Raises:
        ToolMissingError: swtpm is not installed.
        CommandFailedError: it did not start; its own words are the evidence.
    """
    (directory / STATE).mkdir(mode=0o700, exist_ok=True)
    (directory / SOCKET).unlink(missing_ok=True)
    argv = socket_argv(directory)
    return processes.start_daemon(argv, pid_file=directory / "swtpm.pid", log_to=directory / "swtpm.out", cwd=directory)

"""The first program of a machine that has the image's kernel, nft and networkd, and nothing else: it does what
/plan.json says, and writes what it saw to the serial port. Standard library only, and host/netlink.py.

Steps: {"units": {name: text}, "delete": [interfaces]} as an apply does it, {"rules": text}, {"wait": [[interface,
address], ...]}, {"gone": [interfaces]}, {"probe": {...}} as netdrive.py has it, {"connect": [address, port]}.
"""  # noqa: D205 - the first paragraph is one thought

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

sys.path.insert(0, "/test")

from flashvisor.host.netlink import addresses, delete_link, wait_for_address
from sim.netdrive import listen, run

UNITS, LOG = Path("/run/systemd/network"), Path("/run/networkd.log")
LIMIT = 40.0  # seconds, under emulation
RESULT = "RESULT "


class Machine:
    """Carries steps out."""

    def __init__(self) -> None:
        UNITS.mkdir(parents=True)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._channels: dict[str, socket.socket] = {}

    def step(self, step: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Does one thing and returns what it saw."""
        (kind,) = step.keys() - {"delete"}
        return getattr(self, f"_{kind}")(step)

    def _units(self, step: dict[str, Any]) -> list[str]:
        for name in step.get("delete", ()):
            delete_link(name)
        for path in UNITS.iterdir():
            path.unlink()
        for name, text in step["units"].items():
            (UNITS / name).write_text(text)
        if self._daemon is None:
            log = LOG.open("wb")
            self._daemon = subprocess.Popen(["/usr/lib/systemd/systemd-networkd"], stdout=log, stderr=log)
        else:
            # What `systemctl reload` does: the unit is Type=notify-reload.
            self._daemon.send_signal(signal.SIGHUP)
        return sorted(step["units"])

    def _rules(self, step: dict[str, Any]) -> str:
        rules: str = step["rules"]
        ran = subprocess.run(["/usr/sbin/nft", "-f", "-"], input=rules, capture_output=True, text=True, check=False)
        return ran.stderr

    def _wait(self, step: dict[str, Any]) -> bool:
        wanted = {tuple(pair) for pair in step["wait"]}
        return wait_for_address(lambda found: wanted <= {(each.interface, each.text) for each in found}, LIMIT)

    def _gone(self, step: dict[str, Any]) -> list[str]:
        """The interfaces of these that are there, or have an address all the same."""
        there = {name for _, name in socket.if_nameindex()}
        held = {each.interface for each in addresses() if each.wide}
        return [name for name in step["gone"] if name in (held if name.startswith("eth") else there)]

    def _probe(self, step: dict[str, Any]) -> dict[str, list[str]]:
        probe = step["probe"]
        for name in (probe["on"], *probe["watch"]):
            # An interface that was made anew has another number.
            number = socket.if_nametoindex(name)
            if f"{name}/{number}" not in self._channels:
                self._channels[f"{name}/{number}"] = listen(name)
        channels = {
            name: self._channels[f"{name}/{socket.if_nametoindex(name)}"] for name in (probe["on"], *probe["watch"])
        }
        return run(probe, channels)

    def _connect(self, step: dict[str, Any]) -> int:
        channel = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._channels[f"call/{step['connect']}"] = channel
        return channel.connect_ex(tuple(step["connect"]))


def mount(kind: str, place: str, options: str = "") -> None:
    """Mounts a file system of the kernel's own."""
    Path(place).mkdir(exist_ok=True)
    argv = ["/usr/bin/mount", "-t", kind, *(["-o", options] if options else []), kind, place]
    subprocess.run(argv, check=True)


def main() -> None:
    """Does all steps; the kernel's panic at the end of its first program is what ends the machine."""
    results: list[Any] = []
    try:
        mount("proc", "/proc")
        # Read-only: networkd takes it for a container's, and does not wait for udev.
        mount("sysfs", "/sys", "ro")
        mount("tmpfs", "/run")
        for name in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            Path("/proc/sys", name).write_text("1")
        machine = Machine()
        results.extend(machine.step(step) for step in json.loads(Path("/plan.json").read_text()))
    except BaseException:  # noqa: BLE001 - whatever it is, the test has to see it
        results.append({"failed": traceback.format_exc()})
    said = LOG.read_text() if LOG.exists() else ""
    port = os.open("/dev/ttyS0", os.O_WRONLY)
    os.write(port, f"\n{RESULT}{json.dumps({'results': results, 'networkd': said})}\n".encode())


if __name__ == "__main__":
    main()

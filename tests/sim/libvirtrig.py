"""libvirt in earnest, without a server: the image's own virtqemud and Python, and guests under emulation.

A scene is a function of tests/inside/scenes.py. It is played in a tree made of the packages that the image is picked
from, with libvirt as it was compiled for the image, and the lab's QEMU for the image's, which has no emulation::


    rig = Rig(open_cache(), tmp_path)
    rig.play("pause_and_resume")        # AssertionError with the scene's own traceback

What is not seen here, for there is no KVM and there are no control groups: enlightenments, CPU pinning, confinement.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flashvisor.errors import CommandFailedError
from flashvisor.host.run import run
from flashvisor.image.labqemu import lab_qemu
from flashvisor.image.libvirt import libvirt
from flashvisor.image.pythonfiles import wheels
from flashvisor.image.trees import root_packages

if TYPE_CHECKING:
    from flashvisor.image.cache import Cache

LIMIT = 300.0  # seconds, under emulation, on a busy machine
TESTS = Path(__file__).parent.parent
SOURCE = TESTS.parent / "src"
CACHE = "/mnt/cache"  # inside
LIBRARIES = ("libvirt.so.0.11003.0", "libvirt-qemu.so.0.11003.0")
LIBRARY_PATH = "usr/lib/x86_64-linux-gnu"
EMPTY = ("/run", "/tmp", "/var", "/etc/libvirt", "/sys/fs/cgroup", "/mnt")  # noqa: S108 - inside
CONF = """\
user = "root"
group = "root"
security_driver = "none"
namespaces = []
cgroup_controllers = []
stdio_handler = "file"
remember_owner = 0
"""
DAEMON_CONF = 'auth_unix_rw = "none"\nunix_sock_rw_perms = "0700"\n'


@dataclass
class Rig:
    """Where scenes are played. What they write to /media stands in `work` afterwards."""

    cache: Cache
    work: Path

    def play(self, scene: str) -> str:
        """Plays a scene from tests/inside/scenes.py; returns what it printed.

        Raises:
            AssertionError: it went wrong; with what it said, and virtqemud's errors.
        """
        self._write("qemu.conf", CONF)
        self._write("virtqemud.conf", DAEMON_CONF)
        self._write("emulator", lab_qemu(self.cache).read_text().replace(str(self.cache.root), CACHE))
        (self.work / "emulator").chmod(0o755)
        daemon = self._inside(libvirt(self.cache) / "usr/sbin/virtqemud")
        try:
            return run(
                [*self._bwrap(), "/usr/bin/python3", "-B", "/mnt/tests/inside/stage.py", daemon, scene], timeout=LIMIT
            ).stdout
        except CommandFailedError as error:
            raise AssertionError(f"scene {scene}:\n{error.evidence}") from error

    def _write(self, name: str, text: str) -> None:
        (self.work / name).write_text(text)

    def _inside(self, path: Path) -> str:
        return f"{CACHE}/{path.relative_to(self.cache.root)}"

    def _bwrap(self) -> list[str | Path]:
        tree, ours = root_packages(self.cache), libvirt(self.cache)
        words: list[str | Path] = [
            "bwrap",
            "--ro-bind",
            tree,
            "/",
            "--dev",
            "/dev",
            "--proc",
            "/proc",
            "--ro-bind",
            "/sys",
            "/sys",
        ]
        for place in EMPTY:
            words += ["--tmpfs", place]
        binds = {self.cache.root: CACHE, SOURCE: "/mnt/src", TESTS: "/mnt/tests", wheels(self.cache): "/mnt/wheels"}
        binds |= {ours / LIBRARY_PATH / name: f"/{LIBRARY_PATH}/{name}" for name in LIBRARIES}
        binds |= {self.work / name: f"/etc/libvirt/{name}" for name in ("qemu.conf", "virtqemud.conf")}
        binds[ours / "usr/share/libvirt"] = "/usr/share/libvirt"
        for outside, inside in binds.items():
            words += ["--ro-bind", outside, inside]
        words += ["--bind", self.work, "/media", "--symlink", "/run", "/var/run"]
        drivers = self._inside(ours / "usr/lib64/libvirt/connection-driver")
        settings = {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/tmp", "LC_ALL": "C.UTF-8",  # noqa: S108 - inside
            "LIBVIRT_DRIVER_DIR": drivers, "PYTHONPATH": "/mnt/src:/mnt/wheels:/mnt/tests",
        }  # fmt: skip
        words += ["--unshare-pid", "--unshare-net", "--unshare-ipc", "--die-with-parent", "--clearenv"]
        for name, value in settings.items():
            words += ["--setenv", name, value]
        return [*words, "--chdir", "/tmp", "--"]  # noqa: S108 - inside

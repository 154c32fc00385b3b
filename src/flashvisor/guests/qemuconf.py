"""The text of /etc/libvirt/qemu.conf: how libvirt confines every guest. Pure.

Owns the settings and their reasons. The image build writes the file::

    path.write_text(qemu_conf())

Source: the comments of qemu.conf in Debian's libvirt-daemon-driver-qemu 11.3.
"""

from __future__ import annotations

QEMU_USER = "libvirt-qemu"
QEMU_GROUP = "kvm"  # owns /dev/kvm (systemd's 50-udev-default.rules)

_CONF = f"""\
# Written by flashvisor. Each guest's QEMU is an unprivileged process of its own.
user = "{QEMU_USER}"
group = "{QEMU_GROUP}"

# "none" beside the DAC driver, which is always on and cannot be named here: files belong to the guests' user only
# while a guest uses them.
security_driver = "none"
dynamic_ownership = 1
remember_owner = 1

# A private /dev, a system call filter, and control groups for whatever the kernel has.
namespaces = [ "mount" ]
seccomp_sandbox = 1
cgroup_controllers = [ "cpu", "devices", "memory", "blkio", "cpuset", "cpuacct" ]

# There is no virtlogd in the image, and nowhere to keep a guest's memory when its QEMU dies.
stdio_handler = "file"
max_core = 0
dump_guest_core = 0

# Process listings say whose QEMU it is.
set_process_name = 1

# Guests have no screen. Should one ever get one, it is not reachable from the network.
vnc_auto_unix_socket = 1
auto_dump_path = "/run/libvirt/qemu/dump"

# The agent alone decides what runs after a start and before an end of the server.
auto_shutdown_try_save = "none"
auto_shutdown_try_shutdown = "none"
auto_shutdown_poweroff = "none"
"""


def qemu_conf() -> str:
    """Returns the whole text of /etc/libvirt/qemu.conf."""
    return _CONF

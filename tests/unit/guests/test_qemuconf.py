"""qemu.conf: what confines guests is on."""

from __future__ import annotations

import ast

import pytest

from flashvisor.guests.qemuconf import qemu_conf


def settings() -> dict[str, object]:
    lines = [line for line in qemu_conf().splitlines() if line and not line.startswith("#")]
    pairs = [line.split(" = ", 1) for line in lines]
    assert len({name for name, _ in pairs}) == len(pairs)
    return {name: ast.literal_eval(value) for name, value in pairs}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user", "libvirt-qemu"),
        ("group", "kvm"),
        ("security_driver", "none"),
        ("dynamic_ownership", 1),
        ("seccomp_sandbox", 1),
        ("namespaces", ["mount"]),
        ("stdio_handler", "file"),
        ("max_core", 0),
    ],
)
def test_confines(name: str, value: object) -> None:
    assert settings()[name] == value


def test_devices_are_under_a_control_group() -> None:
    controllers = settings()["cgroup_controllers"]
    assert isinstance(controllers, list)
    assert {"devices", "memory", "cpu"} <= set(controllers)


def test_leaves_guests_alone_when_libvirtd_ends() -> None:
    words = {name: value for name, value in settings().items() if name.startswith("auto_shutdown")}
    assert set(words.values()) == {"none"}
    assert len(words) == 3

"""The power button, from a /sys of our own making and pipes in place of devices."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from flashvisor.host.powerbutton import EV_KEY, EVENT, KEY_POWER, PRESSED, devices, presses

if TYPE_CHECKING:
    from pathlib import Path

KEY_A = 30
BUTTON = "10000000000000 0"  # what ACPI's button says on x86-64
KEYBOARD = "402000000 3803078f800d001 feffffdfffefffff fffffffffffffffe"  # QEMU's PS/2 keyboard, which has a power key


def event(code: int = KEY_POWER, value: int = PRESSED, kind: int = EV_KEY) -> bytes:
    return EVENT.pack(1, 2, kind, code, value)


@pytest.mark.parametrize(
    ("keys", "can"),
    [
        (BUTTON, True),
        (f"1 0 {BUTTON}", True),
        ("7fffffffffffff 0", True),
        (KEYBOARD, True),
        (KEYBOARD.replace("feffffdfffefffff", "feefffdfffefffff"), False),
        ("ffefffffffffffff ffffffffffffffff", False),
        ("10000000000000", False),
        ("0", False),
        ("", False),
        ("strange 0", False),
    ],
)
def test_a_device_that_can_send_the_key_is_found(tmp_path: Path, keys: str, *, can: bool) -> None:
    place = tmp_path / "sys/class/input/event3/device/capabilities"
    place.mkdir(parents=True)
    (place / "key").write_text(f"{keys}\n")
    (tmp_path / "sys/class/input/mouse0").mkdir()
    (tmp_path / "sys/class/input/event9").mkdir()
    assert devices(tmp_path) == ((tmp_path / "dev/input/event3",) if can else ())


def test_an_event_is_as_long_as_the_kernels() -> None:
    assert EVENT.size == 24


def test_only_presses_of_the_button_count(tmp_path: Path) -> None:
    paths = [tmp_path / "event0", tmp_path / "event1"]
    for path in paths:
        os.mkfifo(path)
    ends = [os.open(path, os.O_RDWR) for path in paths]
    heard = presses([*paths, tmp_path / "none"])
    # A key, the button let go, the button held, a switch of the same number: none of them; then a press.
    os.write(ends[0], event(KEY_A) + event(value=0) + event(value=2) + event(kind=5) + event() + event(value=0))
    next(heard)
    os.write(ends[1], event() + event())
    next(heard)
    next(heard)
    os.write(ends[0], event(KEY_A))
    for end in ends:
        os.close(end)
    # Both devices have gone.
    assert list(heard) == []


def test_without_a_device_nobody_listens() -> None:
    assert list(presses([])) == []

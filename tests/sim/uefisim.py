"""A firmware in memory that starts slots by the rules of UEFI 2.10, 3.1.1 and 3.5.1.1, and checks no signature.

BootNext first, and taken away before the start; then BootOrder; then the first FAT partition, which is factory. A slot
that holds nothing is passed over. What is started is the caller's to judge.

    firmware = UefiSim(power)
    slot = firmware.choose(holds_something)
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from flashvisor.flash.layout import PARTITIONS
from flashvisor.model.bootentry import (
    ENTRY_NAME,
    GLOBAL,
    LOADER,
    BootVariables,
    LoadOption,
    decode,
    decode_order,
    encode_order,
    entry_name,
)
from flashvisor.model.slot import Slot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ATTRIBUTES = (7).to_bytes(4, "little")  # NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS
SLOT_OF = {uuid.UUID(PARTITIONS[slot].guid): slot for slot in Slot}


def start_from(directory: Path, *, checked: bool = False) -> Slot:
    """Starts a server whose firmware's variables are the files of a directory, as efivarfs shows them.

    Returns:
        The slot that was started; the directory says so, too.
    """
    files = {path.name.removesuffix(f"-{GLOBAL}"): path for path in directory.glob(f"*-{GLOBAL}")}
    firmware = UefiSim(lambda: None, {name: path.read_bytes()[4:] for name, path in files.items()})
    slot = firmware.choose(lambda _: True)
    for name in files.keys() - firmware.variables.keys():
        files[name].unlink()
    put = {**firmware.variables, "SecureBoot": bytes([checked])}
    for name, data in put.items():
        (directory / f"{name}-{GLOBAL}").write_bytes(ATTRIBUTES + data)
    stub = PARTITIONS[slot].guid.encode("utf-16-le") + b"\0\0"
    (directory / f"LoaderDevicePartUUID-{LOADER}").write_bytes(ATTRIBUTES + stub)
    return slot


class UefiSim:
    """Firmware and its variables; it has the form of flash.carryout.Variables.

    Args:
        event: Called before each change of a variable; raises when power is cut there.
        variables: What the variables hold, by name.
        checked: Whether Secure Boot is on; what is signed is the caller's to judge.
    """

    def __init__(
        self, event: Callable[[], None], variables: dict[str, bytes] | None = None, *, checked: bool = False
    ) -> None:
        self._event, self.checked = event, checked
        self.variables = dict(variables or {})

    def write(self, name: str, guid: uuid.UUID, attributes: int, data: bytes) -> None:
        """Sets a variable: whole, or power was cut before."""
        assert (guid, attributes) == (GLOBAL, 7)
        self._event()
        self.variables[name] = data

    def delete(self, name: str, guid: uuid.UUID) -> None:
        """Takes a variable away."""
        assert guid == GLOBAL
        self._event()
        self.variables.pop(name, None)

    def choose(self, loadable: Callable[[Slot], bool]) -> Slot:
        """Returns the slot that is started. What dies before it is up goes through here again."""
        tries = [self.variables.pop("BootNext", b""), self.variables.get("BootOrder", b"")]
        for number in [number for data in tries for number in decode_order(data)]:
            entry = self._entry(number)
            slot = self.slot_of(number)
            if entry and entry.active and slot and loadable(slot):
                self.variables["BootCurrent"] = encode_order([number])
                return slot
        self.variables.pop("BootCurrent", None)
        assert loadable(Slot.FACTORY), "nothing can be started"
        return Slot.FACTORY

    def boot_variables(self) -> BootVariables:
        """Returns what an agent would read."""

        def numbers(name: str) -> tuple[int, ...]:
            return decode_order(self.variables.get(name, b""))

        found = {int(match[1], 16): decode(self.variables[name])
                 for name in self.variables if (match := ENTRY_NAME.fullmatch(name))}  # fmt: skip
        return BootVariables(
            current=next(iter(numbers("BootCurrent")), None),
            next=next(iter(numbers("BootNext")), None),
            order=numbers("BootOrder"),
            entries={number: entry for number, entry in found.items() if entry},
            checked=self.checked,
        )

    def slot_of(self, number: int) -> Slot | None:
        """Returns the slot that an entry leads to."""
        entry = self._entry(number)
        return SLOT_OF.get(entry.partition.guid) if entry and entry.partition else None

    def _entry(self, number: int) -> LoadOption | None:
        return decode(self.variables.get(entry_name(number), b""))

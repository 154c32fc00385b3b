"""An image that arrives in chunks of any size: the same bytes on the device, in an order that a cut cannot harm."""

from __future__ import annotations

import hashlib

import pytest

from flashvisor.errors import BadRequestError, DeviceFaultyError
from flashvisor.flash.layout import ALIGNMENT, DEVICE_SIZE, PARTITIONS, SECTOR, STATE
from flashvisor.flash.ramdevice import RamDevice
from flashvisor.flash.streamburn import StreamBurn

LAST = DEVICE_SIZE // ALIGNMENT * ALIGNMENT
MARKS = {SECTOR: b"EFI PART", 5 * ALIGNMENT + 3: b"slot", STATE.start + 7: b"their ring", DEVICE_SIZE - 8: b"EFI TAIL"}


class Medium(RamDevice):
    """A device that remembers the order of writes, and holds an older image's tables."""

    def __init__(self) -> None:
        super().__init__(DEVICE_SIZE)
        for start in (SECTOR, DEVICE_SIZE - 8):
            super().write(start, b"OLD TABL")
        self.order: list[tuple[int, bytes]] = []
        self.forgot = 0

    def write(self, offset: int, data: bytes) -> None:
        self.order.append((offset, data[:8]))
        super().write(offset, data)

    def forget_cache(self) -> None:
        self.forgot += 1


@pytest.fixture(scope="module")
def image() -> RamDevice:
    device = RamDevice(DEVICE_SIZE)
    for start, words in MARKS.items():
        device.write(start, words)
    return device


def our_ring() -> RamDevice:
    ring = RamDevice(STATE.size)
    ring.write(0, b"our ring")
    return ring


def send(burn: StreamBurn, image: RamDevice, *, chunk: int = ALIGNMENT + 12345, until: int = DEVICE_SIZE) -> None:
    for start in range(0, until, chunk):
        burn.take(image.read(start, min(chunk, until - start)))


def test_the_image_is_there_with_another_ring(image: RamDevice) -> None:
    medium = Medium()
    burn = StreamBurn(medium, DEVICE_SIZE)
    send(burn, image)
    burn.complete(our_ring())
    assert sum(burn.compare()) == DEVICE_SIZE
    assert medium.forgot == 1
    image_read = image.read(0, DEVICE_SIZE)
    expected = image_read[: STATE.start] + our_ring().read(0, STATE.size) + image_read[STATE.end :]
    assert medium.read(0, DEVICE_SIZE) == expected
    assert burn.sha256 == hashlib.sha256(expected).hexdigest()
    assert burn.state.read(7, 10) == b"their ring"


def test_both_tables_go_first_and_come_last(image: RamDevice) -> None:
    medium = Medium()
    burn = StreamBurn(medium, DEVICE_SIZE)
    send(burn, image)
    assert [start for start, _ in medium.order[:2]] == [0, LAST]
    assert medium.read(SECTOR, 8) == medium.read(DEVICE_SIZE - 8, 8) == bytes(8), "no table while the rest is written"
    burn.complete(our_ring())
    assert [start for start, _ in medium.order[-2:]] == [0, LAST]
    assert medium.read(SECTOR, 8) == b"EFI PART"


def test_what_is_no_image_does_not_touch_the_device() -> None:
    medium = Medium()
    with pytest.raises(BadRequestError, match="no partition table"):
        send(StreamBurn(medium, DEVICE_SIZE), RamDevice(DEVICE_SIZE))
    assert medium.order == []


def test_half_an_image_leaves_no_table(image: RamDevice) -> None:
    medium = Medium()
    burn = StreamBurn(medium, DEVICE_SIZE)
    send(burn, image, until=DEVICE_SIZE - 1)
    with pytest.raises(BadRequestError, match="bytes, got"):
        burn.complete(our_ring())
    assert medium.read(SECTOR, 8) == bytes(8)


def test_more_than_an_image_is_refused(image: RamDevice) -> None:
    burn = StreamBurn(Medium(), DEVICE_SIZE)
    send(burn, image)
    with pytest.raises(BadRequestError, match="got more"):
        burn.take(b"x")


@pytest.mark.parametrize("place", [SECTOR, PARTITIONS["factory"].start, STATE.start, DEVICE_SIZE - 1])
def test_another_byte_read_back_is_found(image: RamDevice, place: int) -> None:
    medium = Medium()
    burn = StreamBurn(medium, DEVICE_SIZE)
    send(burn, image)
    burn.complete(our_ring())
    medium.write(place, bytes([medium.read(place, 1)[0] ^ 1]))
    with pytest.raises(DeviceFaultyError, match="other bytes"):
        list(burn.compare())

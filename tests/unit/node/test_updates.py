"""An update from request to slot: what it remembers, what it refuses, and that there is one at a time."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from flashvisor import errors
from flashvisor.api.flashtypes import FailedReport, Installed, UpdateRequest
from flashvisor.flash.ring import Ring
from flashvisor.flash.slots import WENT_BACK
from flashvisor.host.devices import Device
from flashvisor.model.record import RecordKind, encode
from flashvisor.model.release import Flavour
from flashvisor.node.fakeslots import FakeSlots
from flashvisor.node.preflight import Running
from flashvisor.node.state import NodeState
from flashvisor.node.updates import LOADING, VERIFYING, WORK, WRITING, Surroundings, Updates
from sim.flashsim import FlashSim
from sim.nodekit import RING_SIZE
from sim.reposim import MEMORY, NOW, YEAR, RepoSim, image_of, manifest_of, repository

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring
    from flashvisor.trust.updates import Want

OLD, NEW = image_of("kernel", "root"), image_of("new kernel", "root")
MANIFEST = manifest_of(NEW, "1.1")
TOLD = NOW.timestamp()
REQUEST = UpdateRequest(told=TOLD, probation=90.0, health_url="https://health.example/")


@dataclass
class Server:
    """A server whose slot a holds OLD, and a source that has NEW."""

    directory: Path
    running: Running = field(default_factory=lambda: Running(Flavour.KVM))
    wall: float = TOLD
    flash: FlashSim = field(default_factory=lambda: FlashSim(RING_SIZE))
    source: RepoSim = field(default_factory=lambda: RepoSim(repository((MANIFEST, NEW))))
    slots: FakeSlots = field(default_factory=lambda: FakeSlots(OLD, "1.0"))
    said: list[str] = field(default_factory=list)
    told: list[Installed] = field(default_factory=list)
    owner_ca_pem: str = ""
    available: int = 1 << 30

    def __post_init__(self) -> None:
        self.state = NodeState(Ring.open(self.flash))
        around = Surroundings(
            self.directory / "update",
            self.owner_ca_pem,
            lambda: self.running,
            wall=lambda: self.wall,
            available=lambda: self.available,
        )
        self.updates = Updates(self.state, self.slots, around)

    def run(self, request: UpdateRequest = REQUEST) -> Installed:
        return self.updates.run(request, self.source, self.tell)

    def tell(self, words: str, done: int = 0, total: int = 0, writes: Installed | None = None) -> None:
        assert 0 <= done <= total
        if writes:
            assert len(self.slots.wishes) == len(self.told), "it is told before the slot is written"
            self.told.append(writes)
        if words not in self.said:
            self.said.append(words)


@pytest.fixture
def server(tmp_path: Path, keyring: Keyring) -> Server:
    flash = FlashSim(RING_SIZE)
    Ring.open(flash).append(RecordKind.TRUST, encode(MEMORY), cause="burn")
    return Server(tmp_path, flash=flash, owner_ca_pem=keyring.ca_pem.decode())


def test_from_request_to_slot(server: Server) -> None:
    done = server.run()
    assert (done.version, done.image, done.already) == ("1.1", MANIFEST.sha256, False)
    assert done.downloaded == server.source.received
    assert done.reused > 50_000
    report = server.slots.report()
    assert (report.trial, report.slots[2].image, report.slots[2].version) == ("b", MANIFEST.sha256, "1.1")
    assert server.slots.wishes == [(False, 90.0, "https://health.example/")]
    assert server.said == [VERIFYING, LOADING, WRITING]
    assert server.told == [done]


def test_what_was_verified_is_remembered_over_a_restart_and_written_once(server: Server) -> None:
    server.run()
    written = server.state.bytes_written
    memory = NodeState(Ring.open(server.flash)).trust()
    assert memory is not None
    assert (memory.release, memory.timestamp, memory.issued) == ("1.1", 1, TOLD)
    server.slots.end_trial()
    assert server.run().already
    assert server.state.bytes_written == written
    assert len(server.slots.wishes) == 1


def test_an_older_repository_is_refused_after_the_restart(server: Server) -> None:
    server.run()
    old = manifest_of(OLD, "1.0")
    server.source = RepoSim(repository((old, OLD)))
    server.slots.end_trial()
    with pytest.raises(errors.RollbackError):
        server.run()
    done = server.run(UpdateRequest(told=TOLD, version="1.0"))
    assert (done.version, done.image) == ("1.0", old.sha256)


def test_without_a_trust_root_nothing_is_fetched(tmp_path: Path) -> None:
    server = Server(tmp_path)
    with pytest.raises(errors.NoTrustRootError) as caught:
        server.run()
    assert "Burn its flash anew" in caught.value.next_step
    assert server.source.asked == []


@pytest.mark.parametrize("wall", [TOLD - 10 * YEAR.total_seconds(), TOLD + 10 * YEAR.total_seconds()])
def test_a_clock_that_is_ten_years_wrong_does_not_matter(server: Server, wall: float) -> None:
    server.wall = wall
    assert server.run().version == "1.1"


def test_the_owners_clock_counts(server: Server) -> None:
    with pytest.raises(errors.TrustError):
        server.run(UpdateRequest(told=TOLD + 2 * YEAR.total_seconds()))


def test_the_images_own_age_counts_too(server: Server) -> None:
    server.running = Running(Flavour.KVM, built=TOLD + 2 * YEAR.total_seconds())
    with pytest.raises(errors.TrustError, match="expired"):
        server.run()


def test_a_missing_driver_stops_it_before_anything_is_written(server: Server) -> None:
    card = Device("pci0000:00/virtio0", "virtio:d00000001v00001AF4", "virtio_net", ("net",))
    server.running = Running(Flavour.KVM, modaliases=("virtio:d00000001v*",), devices=(card,))
    written = server.state.bytes_written
    with pytest.raises(errors.MissingDriverError, match="network card virtio0"):
        server.run()
    assert server.state.bytes_written == written
    assert server.source.chunks_asked == []
    assert server.slots.report().trial == ""


def test_an_update_takes_no_memory_from_the_guests(server: Server) -> None:
    server.available = MANIFEST.length + WORK - 1
    with pytest.raises(errors.NoSpaceError, match="are available"):
        server.run()
    assert not server.source.chunks_asked
    server.available += 1
    server.run()
    assert server.slots.report().trial == "b"


def test_a_release_of_another_flavour_needs_asking(server: Server) -> None:
    xen = manifest_of(NEW, "1.1", flavour=Flavour.XEN)
    server.source = RepoSim(repository((xen, NEW)))
    with pytest.raises(errors.NoSuchReleaseError, match="kvm"):
        server.run()
    assert server.run(UpdateRequest(told=TOLD, flavour="xen")).image == xen.sha256
    with pytest.raises(errors.BadRequestError, match="kvm, xen"):
        server.run(UpdateRequest(told=TOLD, flavour="vmware"))


def test_an_image_that_does_not_know_its_flavour_must_be_told(server: Server) -> None:
    server.running = Running(None)
    with pytest.raises(errors.OtherFlavourError):
        server.run()
    assert server.run(UpdateRequest(told=TOLD, flavour="kvm")).version == "1.1"


def test_what_failed_before_must_be_forced(server: Server) -> None:
    server.slots.failed.append(FailedReport(image=MANIFEST.sha256, version="1.1", reason="silent", when=0.0))
    with pytest.raises(errors.ReleaseFailedBeforeError):
        server.run()
    assert server.source.chunks_asked == []
    server.run(UpdateRequest(told=TOLD, force=True))
    assert server.slots.wishes[0][0]


def test_a_cut_update_goes_on(server: Server) -> None:
    server.source.stop_after = 6
    with pytest.raises(errors.ReleaseSourceError):
        server.run()
    first = server.source.chunks_asked
    assert first
    server.source = RepoSim(repository((MANIFEST, NEW)))
    server.run()
    assert not set(first) & set(server.source.chunks_asked)
    assert server.slots.report().trial == "b"


def test_a_second_update_is_refused_while_one_is_under_way(server: Server) -> None:
    begun, go_on = threading.Event(), threading.Event()

    class Slow(RepoSim):
        def _answers(self, wants: object) -> Iterator[bytes | None]:
            begun.set()
            assert go_on.wait(10)
            yield from super()._answers(wants)  # type: ignore[arg-type]

    server.source = Slow(server.source.files)
    first = threading.Thread(target=server.run)
    first.start()
    assert begun.wait(10)
    with pytest.raises(errors.BusyError):
        server.run()
    with pytest.raises(errors.BusyError), server.updates.alone():
        pass
    go_on.set()
    first.join(10)
    assert server.slots.report().trial == "b"
    server.slots.end_trial()
    assert server.run().already


def test_fake_slots_go_back_as_real_ones_do(server: Server) -> None:
    server.run()
    server.slots.rollback(probation=600.0, health_url="")
    report = server.slots.report()
    assert (report.running, report.trial, [row.reason for row in report.failed]) == ("a", "", [WENT_BACK])


@pytest.mark.parametrize("url", ["ftp://example/x", "https://", "https://user@example/x", "x", "https://a/x?y"])
def test_a_strange_url_is_refused(server: Server, url: str) -> None:
    with pytest.raises(errors.BadRequestError, match="not a place"):
        server.run(UpdateRequest(told=TOLD, url=url))


def test_hostile_lengths_are_asked_for_with_their_limits(server: Server) -> None:
    limits: list[Want] = []

    class Noting(RepoSim):
        def _answers(self, wants: object) -> Iterator[bytes | None]:
            for want in wants:  # type: ignore[attr-defined]
                limits.append(want)
                yield from super()._answers((want,))

    server.source = Noting(server.source.files)
    server.run()
    assert all(0 < want.limit <= 4_194_304 for want in limits)
    assert len(limits) > 5

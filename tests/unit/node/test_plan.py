"""What leads from one site to another."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from flashvisor.errors import (
    ForeignDataError,
    ImageNotUploadedError,
    NoApplianceError,
    NoDataDiskError,
    NotEnoughMemoryError,
)
from flashvisor.node.fakemachine import blank_disk
from flashvisor.node.plan import GUEST_OVERHEAD, SERVER_RESERVE, Action, check_server, missing_images, plan
from sim.nodekit import GIB, SECOND_GUEST, SITE, desired, facts, sha256, uki

MIB = 1 << 20


def steps(actions: list[Action]) -> list[str]:
    return [f"{action.verb} {action.subject}" for action in actions]


UP = facts(mounted=frozenset({"main"}), running=frozenset({"hello"}))


def test_a_fresh_server_gets_everything_in_order() -> None:
    actions = plan(None, desired(), facts())
    assert steps(actions) == ["configure networks", "format main", "mount main", "start hello"]


def test_the_same_site_again_is_nothing_to_do() -> None:
    assert plan(desired(), desired(), UP) == []


def test_after_a_restart_of_the_agent_running_guests_are_left_alone() -> None:
    assert steps(plan(None, desired(), UP)) == ["configure networks"]


def test_a_changed_guest_is_stopped_before_and_started_after() -> None:
    new = desired(SITE.replace("64MiB", "96MiB"))
    assert steps(plan(desired(), new, UP)) == ["stop hello", "start hello"]


def test_a_new_image_of_the_same_name_changes_the_guest() -> None:
    new = desired(images={"hello": uki(b"other")})
    assert steps(plan(desired(), new, UP)) == ["stop hello", "start hello"]


def test_a_changed_forward_only_touches_the_firewall() -> None:
    new = desired(SITE.replace("8080", "8081"))
    assert steps(plan(desired(), new, UP)) == ["configure networks"]


def test_a_guest_that_was_stopped_by_hand_stays_down_when_others_change() -> None:
    down = replace(UP, running=frozenset())
    assert steps(plan(desired(), desired(SITE + SECOND_GUEST), down)) == ["configure networks", "start second"]


def test_a_guest_that_left_the_site_is_stopped() -> None:
    both = replace(UP, running=frozenset({"hello", "second"}))
    assert steps(plan(desired(SITE + SECOND_GUEST), desired(), both)) == ["stop second", "configure networks"]


def test_a_guest_without_autostart_is_not_started() -> None:
    new = desired(SITE.replace('memory = "64MiB"', 'memory = "64MiB"\nautostart = false'))
    assert "start hello" not in steps(plan(None, new, facts()))


def test_a_storage_that_moves_to_another_disk_takes_its_guests_along() -> None:
    new = desired(SITE.replace("data0", "data1"))
    server = replace(UP, disks=(blank_disk("data0"), blank_disk("data1")))
    assert steps(plan(desired(), new, server)) == [
        "stop hello",
        "unmount main",
        "format main",
        "mount main",
        "start hello",
    ]


def test_nothing_wished_stops_all() -> None:
    assert steps(plan(desired(), None, UP)) == ["stop hello", "unmount main", "configure networks"]


def test_enough_is_enough() -> None:
    need = 64 * MIB + GUEST_OVERHEAD
    assert check_server(desired(), facts(memory=SERVER_RESERVE + need)) == []


def test_one_byte_less_is_not_enough_and_the_numbers_are_named() -> None:
    (error,) = check_server(desired(), facts(memory=SERVER_RESERVE + 64 * MIB + GUEST_OVERHEAD - 1))
    assert isinstance(error, NotEnoughMemoryError)
    assert "1 guests need 104 MiB of memory" in error.what
    assert "320 MiB" in error.what


def test_no_disk_foreign_data_and_no_image_are_all_told() -> None:
    foreign = replace(blank_disk("data0"), blank=False)
    errors = check_server(desired(), facts(disks=(foreign,), images=frozenset()))
    assert [type(error) for error in errors] == [ForeignDataError, ImageNotUploadedError]
    assert [type(error) for error in check_server(desired(), facts(disks=()))] == [NoDataDiskError]


def test_a_mounted_storage_is_not_probed_again() -> None:
    assert check_server(desired(), replace(UP, disks=())) == []


def test_an_image_that_the_request_leaves_out_is_told() -> None:
    wish = replace(desired(), images={})
    (error,) = check_server(wish, facts())
    assert "does not say which bytes" in error.what


def test_missing_images_are_those_that_guests_use() -> None:
    wish = desired(SITE + '[image.spare]\nfile = "spare"\n', images={"spare": uki(b"spare")})
    assert missing_images(wish, facts(images=frozenset())) == (sha256(uki()),)
    assert missing_images(wish, facts(memory=GIB)) == ()


FILES = 'memory = "64MiB"\nappliance.files = { "/etc/site.d/site.conf" = "x" }'


def test_changed_files_change_the_guest() -> None:
    new = desired(SITE.replace('memory = "64MiB"', FILES))
    assert steps(plan(desired(), new, UP)) == ["stop hello", "start hello"]


def test_only_an_appliance_takes_files() -> None:
    wish = desired(SITE.replace('memory = "64MiB"', FILES))
    assert check_server(wish, facts()) == []
    disk = {name: msgspec.structs.replace(ref, kind="disk") for name, ref in wish.images.items()}
    (error,) = check_server(replace(wish, images=disk), facts())
    assert isinstance(error, NoApplianceError)
    assert error.what == "guest.hello.appliance: expected an appliance, image 'hello' is a disk image"

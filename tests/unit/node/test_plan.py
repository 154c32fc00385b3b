"""What leads from one site to another."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from flashvisor.errors import (
    ForeignDataError,
    ImageNotUploadedError,
    NoApplianceError,
    NoDataDiskError,
    NoSuchCardError,
    NotEnoughMemoryError,
)
from flashvisor.host.blkid import Signature
from flashvisor.node.fakemachine import blank_disk
from flashvisor.node.plan import GUEST_OVERHEAD, SERVER_RESERVE, Action, Verb, check_server, missing_images, plan
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


def test_a_storage_on_the_network_needs_no_disk() -> None:
    new = desired(SITE.replace('serial = "data0"', 'nfs = "nas.example:/vm"'))
    server = facts(disks=())
    assert check_server(new, server) == []
    assert steps(plan(None, new, server)) == ["configure networks", "mount main", "start hello"]
    (mount,) = [action for action in plan(None, new, server) if action.verb is Verb.MOUNT]
    assert mount.detail == "nas.example:/vm by NFS"
    moved = desired(SITE.replace('serial = "data0"', 'nfs = "other.example:/vm"'))
    assert steps(plan(new, moved, replace(UP, disks=()))) == ["stop hello", "unmount main", "mount main", "start hello"]


def test_a_mirror_is_made_of_two_blank_disks_and_takes_a_third_without_stopping_anybody() -> None:
    new = desired(SITE.replace('serial = "data0"', 'raid1 = ["A", "B"]'))
    a, b, c = (blank_disk(serial) for serial in "ABC")
    server = facts(disks=(a, b))
    assert check_server(new, server) == []
    assert steps(plan(None, new, server)) == ["configure networks", "format main", "mount main", "start hello"]
    half = replace(a, blank=False, signature=Signature("linux_raid_member", "any:fv-main"))
    mended = desired(SITE.replace('serial = "data0"', 'raid1 = ["A", "C"]'))
    running = replace(UP, disks=(half, c))
    assert steps(plan(new, mended, running)) == ["format main", "mount main"]
    other = desired(SITE.replace('serial = "data0"', 'raid1 = ["C", "D"]'))
    assert steps(plan(new, other, replace(UP, disks=(c, blank_disk("D"))))) == [
        "stop hello",
        "unmount main",
        "format main",
        "mount main",
        "start hello",
    ]


def test_a_foreign_disk_is_told_also_where_it_shall_join_a_mirror_that_runs() -> None:
    half = replace(blank_disk("A"), blank=False, signature=Signature("linux_raid_member", "any:fv-main"))
    wish = desired(SITE.replace('serial = "data0"', 'raid1 = ["A", "B"]'))
    foreign = replace(blank_disk("B"), blank=False)
    assert [type(error) for error in check_server(wish, replace(UP, disks=(half, foreign)))] == [ForeignDataError]
    assert check_server(wish, replace(UP, disks=(half,))) == []


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


THREE = SITE + "".join(
    f'[guest.{name}]\nimage = "hello"\nmemory = "64MiB"\nautostart = {turn}\n'
    for name, turn in (("app", '{ after = ["zdb"] }'), ("zdb", "true"), ("abc", '{ after = ["app"], delay = "30s" }'))
)


def test_guests_start_in_their_turn_and_the_plan_says_what_they_wait_for() -> None:
    starts = [action for action in plan(None, desired(THREE), facts()) if action.verb == "start"]
    assert [(action.subject, action.detail) for action in starts] == [
        ("hello", ""),
        ("zdb", ""),
        ("app", "once zdb answers"),
        ("abc", "once app answers, 30s later"),
    ]


def test_guests_stop_the_other_way_round() -> None:
    server = replace(UP, running=frozenset({"hello", "zdb", "app", "abc", "stranger"}))
    actions = plan(desired(THREE), desired(THREE.replace("64MiB", "96MiB")), server)
    assert steps(actions) == [
        "stop stranger", "stop abc", "stop app", "stop hello", "stop zdb",
        "start hello", "start zdb", "start app", "start abc",
    ]  # fmt: skip


def test_how_a_guest_is_watched_changes_nothing_that_runs() -> None:
    for words in ('probe = { http = "/" }', "restarts = { max = 3 }", "autostart = { order = 1 }", 'on_crash = "stop"'):
        assert plan(desired(), desired(SITE + words + "\n"), UP) == [], words


def test_what_its_hardware_shows_needs_a_restart() -> None:
    for words in ("probe = { agent = true }", 'on_crash = "keep"'):
        assert steps(plan(desired(), desired(SITE + words + "\n"), UP)) == ["stop hello", "start hello"], words


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


CARD, OTHER, THIRD = (f"52:54:00:00:00:0{number}" for number in (1, 2, 3))
BOND = f'\n[bond.lan]\ncards = ["{CARD}", "{OTHER}"]\n'
BRIDGED = SITE.replace('subnet = "10.77.0.0/24"', 'kind = "bridge"\nuplink = "lan"').replace(
    ', address = "10.77.0.10" }]\nforwards = [{ port = 8080, to = 80 }]', " }]"
)


def test_what_only_the_servers_rules_know_leaves_a_guest_running() -> None:
    card = 'address = "10.77.0.10", rate_in = "1 Gbit/s", rate_out = "1 Gbit/s", spoofing = true'
    new = SITE.replace('address = "10.77.0.10"', card) + 'firewall = [{ allow = "tcp", port = 80 }]\n'
    assert steps(plan(desired(), desired(new), UP)) == ["configure networks"]


def test_a_plan_says_when_the_way_to_the_server_changes() -> None:
    (action,) = plan(desired(), desired(SITE.replace("8080", "8081")), UP)
    assert action.detail == "inside"
    moved = SITE.replace('name = "alpha"', f'name = "alpha"\nuplink = {{ mac = "{CARD}", vlan = 7 }}')
    (action,) = plan(desired(), desired(moved), UP)
    assert action.detail == "inside; the way to the server itself changes"


def test_a_guest_whose_network_hangs_elsewhere_starts_anew() -> None:
    bridged = BRIDGED + BOND
    there_and_back = [steps(plan(*pair, UP)) for pair in ((desired(), desired(bridged)), (desired(bridged), desired()))]
    assert there_and_back == [["stop hello", "configure networks", "start hello"]] * 2
    tagged = desired(bridged.replace('uplink = "lan"', 'uplink = "lan"\nvlan = 20'))
    assert steps(plan(desired(bridged), tagged, UP)) == ["stop hello", "configure networks", "start hello"]


def test_a_bond_with_another_first_card_has_another_bridge() -> None:
    swapped = f'\n[bond.lan]\ncards = ["{OTHER}", "{CARD}"]\n'
    assert steps(plan(desired(BRIDGED + BOND), desired(BRIDGED + swapped), UP))[0] == "stop hello"
    mode = BOND + 'mode = "802.3ad"\n'
    assert steps(plan(desired(BRIDGED + BOND), desired(BRIDGED + mode), UP)) == ["configure networks"]


def test_cards_that_the_server_lacks_are_told_before_anything_changes() -> None:
    site = SITE.replace('name = "alpha"', f'name = "alpha"\nuplink = {{ mac = "{OTHER}" }}')
    site += f'\n[network.lan]\nkind = "bridge"\nuplink = "{THIRD}"\n[bond.b]\ncards = ["{CARD}"]\n'
    found = check_server(desired(site), facts(cards=frozenset({"52:54:00:00:00:99"})))
    assert {type(error) for error in found} == {NoSuchCardError}
    assert [error.what.partition(":")[0] for error in found] == [
        "network.lan.uplink",
        "node.uplink.mac",
        "bond.b.cards",
    ]
    assert found[0].evidence == "52:54:00:00:00:99"
    assert check_server(desired(site), facts(cards=frozenset({CARD, OTHER, THIRD}))) == []


def test_a_bond_is_accepted_with_one_of_its_cards() -> None:
    assert check_server(desired(SITE + BOND), facts(cards=frozenset({OTHER}))) == []

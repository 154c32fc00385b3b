"""The client against a server in memory: every route, and every way to fail."""

from __future__ import annotations

import hashlib
import ssl
from typing import TYPE_CHECKING

import httpx
import msgspec
import pytest

from flashvisor.api.address import Address
from flashvisor.api.client import Client
from flashvisor.api.types import ApplyRequest, BurnNews, BurnReport, ErrorReport, GuestState
from flashvisor.errors import (
    DeviceFaultyError,
    DigestMismatchError,
    ForeignNodeError,
    NodeUnreachableError,
    NotAdmittedError,
    NothingToConfirmError,
    StrangeAnswerError,
    UnknownGuestError,
)
from sim.nodesim import NODE, NodeSim, guest_report

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from flashvisor.trust.keyring import Keyring


@pytest.fixture
def sim() -> NodeSim:
    return NodeSim(guests={"web": guest_report("web")})


@pytest.fixture
def client(sim: NodeSim, keyring: Keyring) -> Iterator[Client]:
    with Client(Address("alpha"), keyring, transport=sim.transport()) as client:
        yield client


def test_reports(client: Client) -> None:
    assert client.node() == NODE
    assert client.logs()[0].unit == "agent"
    assert [guest.name for guest in client.guests()] == ["web"]
    assert client.guest("web").name == "web"
    assert client.images() == ()


def test_guests_start_and_stop(client: Client) -> None:
    assert client.stop_guest("web", force=True).state is GuestState.STOPPED
    assert client.start_guest("web").state is GuestState.RUNNING
    assert client.stop_guest("web", grace=5).state is GuestState.STOPPING


def test_plan_apply_confirm(client: Client, sim: NodeSim) -> None:
    request = ApplyRequest(site_toml="schema = 1")
    assert client.plan(request).missing_images == ()
    assert client.apply(request).generation == 1
    assert not client.site().confirmed
    assert client.confirm().confirmed
    assert sim.calls == ["plan", "apply", "site", "confirm"]


def test_power(client: Client, sim: NodeSim) -> None:
    client.power("reboot")
    assert sim.power == "reboot"


def test_upload_streams_and_tells_every_byte(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    data = bytes(range(256)) * 10_000
    path.write_bytes(data)
    seen: list[int] = []
    report = client.upload_image(path, seen.append)
    assert report.sha256 == hashlib.sha256(data).hexdigest()
    assert report.size == len(data) == sum(seen)
    assert len(seen) == 3  # chunks of 1 MiB: the file was never whole in memory


def test_errors_arrive_as_the_class_that_the_server_raised(client: Client, tmp_path: Path) -> None:
    with pytest.raises(UnknownGuestError) as caught:
        client.guest("nobody")
    assert caught.value.what == "there is no guest 'nobody'"
    assert caught.value.next_step == "Known: web"
    with pytest.raises(NothingToConfirmError, match="nothing is waiting"):
        client.confirm()
    (tmp_path / "x").write_bytes(b"x")
    with pytest.raises(DigestMismatchError) as mismatch:
        client.upload_image(tmp_path / "x", sha256="0" * 64)
    assert mismatch.value.evidence == "1 bytes"


def burning(keyring: Keyring, *news: BurnNews) -> Client:
    lines = b"".join(msgspec.json.encode(each) + b"\n" for each in news)

    def answer(request: httpx.Request) -> httpx.Response:
        request.read()
        return httpx.Response(200, content=lines)

    return Client(Address("alpha"), keyring, transport=httpx.MockTransport(answer))


def test_a_burn_tells_what_was_sent_and_what_was_read_back(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(3 << 20))
    done = BurnReport(device="/dev/sdb", size=3 << 20, sha256="ab", in_use=True)
    seen: list[int] = []
    with burning(keyring, BurnNews(compared=1 << 20), BurnNews(compared=2 << 20), BurnNews(done=done)) as client:
        assert client.burn(path, "sdb", on_bytes=seen.append) == done
    assert seen == [1 << 20, 1 << 20, 1 << 20, 1 << 20, 2 << 20]


def test_a_burn_that_fails_or_breaks_off_after_all_was_sent(keyring: Keyring, tmp_path: Path) -> None:
    path = tmp_path / "flash.img"
    path.write_bytes(bytes(10))
    error = ErrorReport(code="FV-HOST-008", what="other bytes")
    failed = burning(keyring, BurnNews(compared=5), BurnNews(error=error))
    with failed as client, pytest.raises(DeviceFaultyError, match="other bytes"):
        client.burn(path, "sdb")
    with burning(keyring, BurnNews(compared=5)) as client, pytest.raises(StrangeAnswerError, match="ended before"):
        client.burn(path, "sdb")


def test_an_error_of_a_later_version(client: Client, sim: NodeSim) -> None:
    sim.raw_answer = (409, b'{"code": "FV-FUTURE-001", "what": "the flux is off"}')
    with pytest.raises(StrangeAnswerError, match=r"FV-FUTURE-001.*the flux is off"):
        client.node()


@pytest.mark.parametrize("answer", [(200, b"<html>"), (200, b'{"name": 1}'), (502, b"Bad Gateway"), (307, b"")])
def test_answers_of_something_else(client: Client, sim: NodeSim, answer: tuple[int, bytes]) -> None:
    sim.raw_answer = answer
    with pytest.raises(StrangeAnswerError):
        client.node()


def test_nobody_there(client: Client, sim: NodeSim) -> None:
    sim.refuse_connections = 1
    with pytest.raises(NodeUnreachableError) as caught:
        client.node()
    assert "refused" in caught.value.evidence
    assert caught.value.next_step


def failing(keyring: Keyring, cause: Exception) -> Client:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("tls", request=request) from cause

    return Client(Address("alpha"), keyring, transport=httpx.MockTransport(answer))


def test_tls_failures_are_told_apart(keyring: Keyring) -> None:
    foreign = ssl.SSLCertVerificationError(1, "certificate verify failed")
    foreign.verify_message = "self-signed certificate"
    refused = ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca")
    refused.reason = "TLSV1_ALERT_UNKNOWN_CA"
    other = ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number")
    other.reason = "WRONG_VERSION_NUMBER"
    with failing(keyring, foreign) as client, pytest.raises(ForeignNodeError, match="self-signed"):
        client.node()
    with failing(keyring, refused) as client, pytest.raises(NotAdmittedError):
        client.node()
    with failing(keyring, other) as client, pytest.raises(NodeUnreachableError):
        client.node()


def test_every_request_asks_for_the_servers_common_name(keyring: Keyring) -> None:
    seen: list[object] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.extensions.get("sni_hostname"))
        return httpx.Response(200, content=b"[]")

    with Client(Address("192.0.2.10"), keyring, transport=httpx.MockTransport(answer)) as client:
        client.guests()
    assert seen == ["flashvisor"]

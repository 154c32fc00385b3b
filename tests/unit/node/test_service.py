"""What the API's calls keep apart from each other."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from flashvisor.api.flashtypes import RollbackRequest, UpdateRequest
from flashvisor.api.types import FirmwareWrite, ReleaseRequest
from flashvisor.errors import BusyError
from flashvisor.node.service import FlashSide, Service


def test_a_server_is_not_released_in_the_middle_of_an_update() -> None:
    updates, wipe, power = Mock(), Mock(), Mock()
    updates.alone.side_effect = BusyError("an update of this server is under way")
    service = Service(Mock(), Mock(), Mock(), FlashSide(updates, Mock(), wipe=wipe), on_power=power)
    with pytest.raises(BusyError):
        service.release(ReleaseRequest(write=FirmwareWrite(name="PK", guid="", attributes=0, data=b"")))
    assert not wipe.called
    assert not power.called


def test_an_unconfirmed_site_is_not_lost_to_a_restart() -> None:
    sources, updates = Mock(), Mock()
    sources.reconciler.waiting = True
    service = Service(sources, Mock(), Mock(), FlashSide(updates, Mock(), wipe=Mock()), on_power=Mock())
    with pytest.raises(BusyError, match="confirmation"):
        service.update(UpdateRequest(told=0.0), Mock(), Mock())
    with pytest.raises(BusyError, match="confirmation"):
        service.rollback(RollbackRequest())
    assert not updates.run.called
    assert not updates.slots.rollback.called
    sources.reconciler.waiting = False
    service.rollback(RollbackRequest())
    assert updates.slots.rollback.called

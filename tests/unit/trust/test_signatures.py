"""Certificates in signed variable writes: what the admin's side makes is read back, and damage is an error."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flashvisor.errors import BadRequestError
from flashvisor.trust.certificates import to_der
from flashvisor.trust.secureboot import enrolment
from flashvisor.trust.signatures import certificates

if TYPE_CHECKING:
    from flashvisor.trust.keyring import Keyring

NOW = datetime(2026, 11, 24, tzinfo=UTC)


def test_the_owners_certificates_are_read_back(keyring: Keyring) -> None:
    for each in enrolment(keyring, NOW):
        assert certificates(each.data) == tuple(to_der(pem) for pem in keyring.certificates(each.name))


@pytest.mark.parametrize("length", [0, 10, 30])
def test_a_piece_of_one_is_refused(keyring: Keyring, length: int) -> None:
    with pytest.raises(BadRequestError):
        certificates(enrolment(keyring, NOW)[0].data[:length])


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_rubbish_is_an_error_or_nothing(data: bytes) -> None:
    try:
        found = certificates(data)
    except BadRequestError:
        return
    assert all(one in data for one in found)

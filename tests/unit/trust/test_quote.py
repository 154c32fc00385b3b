"""A TPM's statement: what is accepted, and that nothing else is."""

from __future__ import annotations

import hashlib
import struct
from contextlib import suppress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flashvisor.errors import BadQuoteError
from flashvisor.host import tpm
from flashvisor.trust import quote
from sim.tpmsim import TpmSim

NONCE, PCRS = b"n" * 32, (0, 4, 7)
SIM = TpmSim()
SIM.extend(4, b"something")
GOOD = SIM.quote(NONCE, PCRS)


def test_a_good_statement() -> None:
    assert quote.check(GOOD, NONCE, PCRS) == "000b" + hashlib.sha256(GOOD.key).hexdigest()


def test_another_nonce_or_other_pcrs() -> None:
    with pytest.raises(BadQuoteError, match="not what was asked for") as caught:
        quote.check(GOOD, b"m" * 32, PCRS)
    assert "the nonce is not ours" in caught.value.evidence
    with pytest.raises(BadQuoteError) as caught:
        quote.check(GOOD, NONCE, (0, 4, 8))
    assert "other PCRs" in caught.value.evidence


@pytest.mark.parametrize("bit", [1, 4, 5, 16, 18])
def test_a_key_that_could_be_anywhere_or_sign_anything(bit: int) -> None:
    loose = TpmSim(attributes=tpm.ATTRIBUTES & ~(1 << bit))
    with pytest.raises(BadQuoteError) as caught:
        quote.check(loose.quote(NONCE, PCRS), NONCE, PCRS)
    assert "restricted signing key" in caught.value.evidence


def test_something_else_that_the_same_key_signed() -> None:
    # TPM_ST_ATTEST_TIME; and bytes that no TPM made, signed by a key that claims to be restricted
    for quoted in (GOOD.quoted[:4] + b"\x80\x19" + GOOD.quoted[6:], b"\0" + GOOD.quoted[1:]):
        with pytest.raises(BadQuoteError, match="not what was asked for"):
            quote.check(replace(GOOD, quoted=quoted, signature=SIM.sign(quoted)), NONCE, PCRS)


def test_values_cut_at_other_places() -> None:
    joined = b"".join(GOOD.values)
    shifted = (joined[:31], joined[31:64], joined[64:])
    with pytest.raises(BadQuoteError) as caught:
        quote.check(replace(GOOD, values=shifted), NONCE, PCRS)
    assert "not those that were signed" in caught.value.evidence


@given(st.sampled_from(["quoted", "signature", "key"]), st.data())
def test_one_bit_anywhere_is_noticed(part: str, data: st.DataObject) -> None:
    whole = bytearray(getattr(GOOD, part))
    where = data.draw(st.integers(0, 8 * len(whole) - 1))
    # The attributes' other bits and the policy are the key's own affair; its name changes with them.
    whole[where // 8] ^= 1 << where % 8
    changed = replace(GOOD, **{part: bytes(whole)})  # type: ignore[arg-type]
    with suppress(BadQuoteError):
        assert quote.check(changed, NONCE, PCRS) != quote.name_of(GOOD.key)


@given(st.sampled_from(["quoted", "signature", "key"]), st.data())
def test_cut_or_lengthened_is_noticed(part: str, data: st.DataObject) -> None:
    whole = getattr(GOOD, part)
    changed = whole[: data.draw(st.integers(0, len(whole) - 1))] if data.draw(st.booleans()) else whole + b"\0"
    with pytest.raises(BadQuoteError):
        quote.check(replace(GOOD, **{part: changed}), NONCE, PCRS)


def test_a_point_off_the_curve() -> None:
    key = GOOD.key[:-34] + struct.pack(">H", 32) + bytes(32)
    with pytest.raises(BadQuoteError):
        quote.check(replace(GOOD, key=key), NONCE, PCRS)

"""What a site's guest changes of a kernel's command line."""

from __future__ import annotations

import pytest

from flashvisor.guests.kernelline import address_words, completed
from flashvisor.model.site import Appliance


@pytest.mark.parametrize(
    ("before", "words", "after"),
    [
        ("quiet", [], "quiet"),
        ("quiet", ["console=ttyS0"], "quiet console=ttyS0"),
        ("", ["console=ttyS0"], "console=ttyS0"),
        ("quiet ip=dhcp panic=1", ["ip=x"], "quiet panic=1 ip=x"),
        (
            "ip=dhcp rdinit=/init -- /bin/x ip=dhcp -- y",
            ["ip=x", "a=1"],
            "rdinit=/init ip=x a=1 -- /bin/x ip=dhcp -- y",
        ),
        ("quiet --", ["a=1"], "quiet a=1 -- "),
        ("a--b ip=dhcp", ["ip=x"], "a--b ip=x"),
    ],
)
def test_words_are_put_before_inits_own(before: str, words: list[str], after: str) -> None:
    assert completed(before, words).split() == after.split()


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        (None, []),
        (Appliance(), []),
        (Appliance(address="192.0.2.2/24"), ["ip=192.0.2.2:::255.255.255.0:web:eth0:off"]),
        (
            Appliance(address="192.0.2.2/25", gateway="192.0.2.1", dns=("192.0.2.3", "192.0.2.4")),
            ["ip=192.0.2.2::192.0.2.1:255.255.255.128:web:eth0:off:192.0.2.3:192.0.2.4"],
        ),
    ],
)
def test_an_address_is_what_the_kernel_reads(wish: Appliance | None, words: list[str]) -> None:
    assert address_words(wish, "web") == words

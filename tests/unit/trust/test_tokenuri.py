"""RFC 7512: what p11tool prints is read, what is written is read back, and a PIN is never taken."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flashvisor.errors import TokenUriError
from flashvisor.trust.tokenuri import EVERY_MODULE, TokenUri, parse

PRINTED = "pkcs11:model=SoftHSM%20v2;manufacturer=SoftHSM%20project;serial=8f3d6a1c9e0b2d47;token=Owner%20%3B%20Ltd"


def test_what_p11tool_prints() -> None:
    uri = parse(PRINTED)
    assert uri == TokenUri(
        token="Owner ; Ltd", manufacturer="SoftHSM project", serial="8f3d6a1c9e0b2d47", model="SoftHSM v2"
    )
    assert uri.library == EVERY_MODULE


def test_what_is_written_is_read_back() -> None:
    uri = replace(parse(PRINTED), id=b"\x00\x7fA;", object="flashvisor db?", module="/usr/lib/a b/lib;soft&hsm2.so")
    text = str(uri)
    assert parse(text) == uri
    assert "id=%00%7F%41%3B" in text
    assert uri.library == "/usr/lib/a b/lib;soft&hsm2.so"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "begins with 'pkcs11:'"),
        ("token=Owner", "begins with 'pkcs11:'"),
        ("pkcs11:", "names no token"),
        ("pkcs11:id=%01", "names no token"),
        ("pkcs11:token=", "names no token"),
        ("pkcs11:token=Owner;slot-id=3", "'slot-id=3' is not understood"),
        ("pkcs11:token=Owner;token=Other", "'token=Other' is not understood"),
        ("pkcs11:token=Owner;serial", "'serial' is not understood"),
        ("pkcs11:token=%FF", "is not UTF-8"),
        ("pkcs11:token=Owner?module-name=softhsm2", "'module-name=softhsm2' is not understood"),
        ("pkcs11:token=Owner?pin-value=1234", "a PIN does not belong"),
        ("pkcs11:token=Owner?pin-source=file:/pin", "a PIN does not belong"),
    ],
)
def test_what_is_refused(text: str, words: str) -> None:
    with pytest.raises(TokenUriError, match=words) as caught:
        parse(text)
    assert "1234" not in str(caught.value)

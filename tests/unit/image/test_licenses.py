"""Debian's short names as SPDX's, and whole copyright files as expressions."""

from __future__ import annotations

import hashlib

import pytest

from flashvisor.image.licenses import read, spdx_id

WHERE = "usr/share/doc/thing/copyright"
HEAD = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\nUpstream-Name: thing\n"


def files(license_field: str) -> str:
    return f"\nFiles: *\nCopyright: 2020 Somebody\nLicense: {license_field}\n"


@pytest.mark.parametrize(
    ("debian", "spdx"),
    [
        ("GPL-2", "GPL-2.0-only"),
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-3.0+", "GPL-3.0-or-later"),
        ("LGPL-2.1", "LGPL-2.1-only"),
        ("AGPL-3+", "AGPL-3.0-or-later"),
        ("GFDL-1.3+", "GFDL-1.3-or-later"),
        ("GFDL-NIV-1.3+", "GFDL-1.3-no-invariants-or-later"),
        ("Expat", "MIT"),
        ("expat", "MIT"),
        ("BSD-3-clause", "BSD-3-Clause"),
        ("Apache-2", "Apache-2.0"),
        ("ZLIB", "Zlib"),
        ("CC0", "CC0-1.0"),
        ("GPL-2 with Linux-syscall-note exception", "GPL-2.0-only WITH Linux-syscall-note"),
    ],
)
def test_short_names_that_spdx_knows(debian: str, spdx: str) -> None:
    assert spdx_id(debian) == spdx


# "GPL" means version 1 by the book and any version in practice; exceptions of the same name differ in their texts.
@pytest.mark.parametrize(
    "debian", ["", "GPL", "LGPL", "Artistic", "public-domain", "GPL-4", "GPL-3+ with Odd exception"]
)
def test_short_names_that_could_mean_several_things(debian: str) -> None:
    assert spdx_id(debian) is None


@pytest.mark.parametrize(
    ("field", "expression"),
    [
        ("GPL-2+", "GPL-2.0-or-later"),
        ("GPL-2+ or Expat", "GPL-2.0-or-later OR MIT"),
        ("ISC and Expat", "ISC AND MIT"),
        ("ISC or Expat and GPL-2", "(MIT AND GPL-2.0-only) OR ISC"),
        ("GPL-2 or Expat, and ISC", "(GPL-2.0-only OR MIT) AND ISC"),
        ("GPL-2 OR Expat OR GPL-2", "GPL-2.0-only OR MIT"),
    ],
)
def test_and_binds_more_than_or_and_a_comma_least(field: str, expression: str) -> None:
    assert read(HEAD + files(field), WHERE).expression == expression


def test_the_licenses_of_all_files_hold_together() -> None:
    text = HEAD + files("LGPL-2.1+") + files("GPL-2 or BSD-3-clause") + files("LGPL-2.1+")
    terms = read(text, WHERE)
    assert terms.expression == "(BSD-3-Clause OR GPL-2.0-only) AND LGPL-2.1-or-later"
    assert terms.texts == ()
    assert terms.digest == hashlib.sha256(text.encode()).hexdigest()


def test_a_name_that_spdx_does_not_know_carries_its_text() -> None:
    text = HEAD + files("public-domain") + "\nLicense: public-domain\n No rights are\n .\n  reserved.\n"
    terms = read(text, WHERE)
    ((name, words),) = terms.texts
    assert terms.expression == name
    assert name.startswith("LicenseRef-Debian-public-domain-")
    assert words == "No rights are\n\n reserved."


def test_the_same_name_with_another_text_is_another_license() -> None:
    one, other = (read(HEAD + files(f"permissive\n {words}"), WHERE) for words in ("Do this.", "Do that."))
    assert one.expression != other.expression
    assert one.expression == read(HEAD + files("permissive\n Do this."), "elsewhere").expression


def test_a_missing_text_is_said_to_be_missing() -> None:
    assert read(HEAD + files("odd"), WHERE).texts[0][1] == f"The text is not in {WHERE}."


def test_words_instead_of_a_short_name_are_kept() -> None:
    terms = read(HEAD + files("\n  All of it is released under the GPL."), WHERE)
    assert terms.expression.startswith("LicenseRef-Debian-unnamed-")
    assert terms.texts[0][1] == " All of it is released under the GPL."


def test_comments_are_left_out() -> None:
    text = HEAD + "# about the files\n" + "\n# ------\n" + files("GPL-2").replace("Copyright", "# note\nCopyright")
    assert read(text, WHERE).expression == "GPL-2.0-only"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "This package was debianized by Somebody.\n\nIt is free.\n",
        files("GPL-2"),
        HEAD,
        HEAD + "\nFiles: *\nCopyright: 2020 Somebody\n",
        HEAD + files("GPL-2") + "\nthis is no field\n",
    ],
)
def test_what_is_not_machine_readable_has_no_expression(text: str) -> None:
    terms = read(text, WHERE)
    assert (terms.expression, terms.where, terms.texts) == ("", WHERE, ())
    assert len(terms.digest) == 64

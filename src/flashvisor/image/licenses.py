"""Debian's copyright files as SPDX license expressions.

Owns the way from DEP-5's short names to SPDX's. Does not judge texts: a name that SPDX does not know becomes a
LicenseRef that carries its text, and a file that is not machine-readable gives no expression at all::

    terms = read(text, "usr/share/doc/kmod/copyright")
    terms.expression    # "GPL-2.0-or-later AND LGPL-2.1-or-later"

Sources: Debian's machine-readable copyright format 1.0 (DEP-5), whose paragraphs are RFC 5322 fields;
SPDX 2.3 Annex D (expressions).
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from email.parser import HeaderParser
from functools import cache, partial
from typing import TYPE_CHECKING

from license_expression import get_spdx_licensing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from email.message import Message

    from license_expression import Licensing

FORMAT = "Format"  # the field that DEP-5's first paragraph must have
# DEP-5: "or" binds less than "and", and a comma before either binds least.
SEPARATORS = ((", or ", "OR"), (", and ", "AND"), (" or ", "OR"), (" and ", "AND"))
GNU = re.compile(r"(?P<family>A?GPL|LGPL)-(?P<version>\d(\.\d)?)(?P<later>\+?)", re.IGNORECASE)
GFDL = re.compile(r"GFDL-(?P<niv>NIV-)?(?P<version>\d\.\d)(?P<later>\+?)", re.IGNORECASE)
EXCEPTION = re.compile(r"(?P<base>\S+) with (?P<name>\S+) exception", re.IGNORECASE)
# Short names of DEP-5 that SPDX calls otherwise. Names without a version ("GPL") are left out: files mean different
# things by them, and their text says which.
RENAMED = {"expat": "MIT", "apache-2": "Apache-2.0", "cc0": "CC0-1.0", "mpl-2": "MPL-2.0", "openldap-2.8": "OLDAP-2.8"}
EXCEPTIONS = {"linux-syscall-note": "Linux-syscall-note", "llvm": "LLVM-exception", "libtool": "Libtool-exception"}
REF_NAME_LENGTH = 40  # characters of a short name kept in a LicenseRef
REF_HASH_LENGTH = 8  # hex digits that tell texts under the same short name apart


@dataclass(frozen=True)
class Terms:
    """What a copyright file says.

    Args:
        expression: SPDX expression that holds all its licenses; "" when it is not machine-readable.
        texts: Every LicenseRef of the expression with its text, sorted.
        where: The copyright file.
        digest: SHA-256 of the copyright file's text in UTF-8, in hex.
    """

    expression: str
    where: str
    digest: str
    texts: tuple[tuple[str, str], ...] = ()


def read(text: str, where: str) -> Terms:
    """Reads a copyright file. Pure.

    Args:
        text: The file's text.
        where: What the file is called, for texts that it does not hold.

    Returns:
        The licenses of all its files, joined by AND.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()
    paragraphs = _paragraphs(text)
    names = [_name(part) for part in paragraphs if "Files" in part]
    if not names or None in names:
        return Terms("", where, digest)
    bodies = _bodies(paragraphs)
    texts: dict[str, str] = {}

    def atom(name: str, context: str) -> str:
        if known := spdx_id(name):
            return known
        body = bodies.get(name.lower()) or bodies.get(context.lower()) or f"The text is not in {where}."
        ref = _reference(name, body)
        texts[ref] = body
        return ref

    parts = {part for name in names if name is not None for part in _conjuncts(name, partial(atom, context=name))}
    # The library's reading drops needless brackets, and proves that what stands here is an expression.
    expression = _licensing().parse(" AND ".join(sorted(parts))).render()
    return Terms(expression, where, digest, tuple(sorted(texts.items())))


def spdx_id(name: str) -> str | None:
    """Returns SPDX's identifier for one of DEP-5's short names, or None where there is no sure one. Pure."""
    if (match := EXCEPTION.fullmatch(name)) and (exception := EXCEPTIONS.get(match["name"].lower())):
        base = spdx_id(match["base"])
        return f"{base} WITH {exception}" if base else None
    if match := GNU.fullmatch(name):
        version = match["version"] if "." in match["version"] else f"{match['version']}.0"
        name = f"{match['family']}-{version}-{_later(match)}"
    elif match := GFDL.fullmatch(name):
        name = f"GFDL-{match['version']}-{'no-invariants-' if match['niv'] else ''}{_later(match)}"
    return RENAMED.get(name.lower()) or _identifiers().get(name.lower())


def _later(match: re.Match[str]) -> str:
    return "or-later" if match["later"] else "only"


@cache
def _licensing() -> Licensing:
    """The library's index of SPDX's identifiers, read once."""
    return get_spdx_licensing()


@cache
def _identifiers() -> Mapping[str, str]:
    """SPDX's identifiers in force, by their lower case."""
    known = _licensing().known_symbols
    return {
        key.lower(): key
        for key, symbol in known.items()
        if not (symbol.is_exception or symbol.is_deprecated or key.startswith("LicenseRef-"))
    }


def _paragraphs(text: str) -> Sequence[Message]:
    """Returns DEP-5's paragraphs; none if the text is not in that format."""
    text = re.sub(r"^#.*\n", "", text, flags=re.MULTILINE).strip("\n")  # comments: deb822(5)
    parts = [HeaderParser().parsestr(part) for part in re.split(r"\n(?:[ \t]*\n)+", text)]
    readable = FORMAT in parts[0] and not any(part.defects or part.get_payload() for part in parts)
    return parts if readable else ()


def _name(paragraph: Message) -> str | None:
    """The short name in a paragraph; "" if it has only a text, None if it has no license at all."""
    value = paragraph["License"]
    return None if value is None else " ".join(str(value).partition("\n")[0].split())


def _bodies(paragraphs: Sequence[Message]) -> Mapping[str, str]:
    """Returns short name in lower case to the texts given under it."""
    found: dict[str, list[str]] = defaultdict(list)
    for paragraph in paragraphs:
        name = _name(paragraph)
        lines = str(paragraph["License"] or "").split("\n")[1:]
        body = "\n".join("" if line.strip() == "." else line.removeprefix(" ").rstrip() for line in lines).strip("\n")
        if name is not None and body and body not in found[name.lower()]:
            found[name.lower()].append(body)
    return {name: "\n\n".join(texts) for name, texts in found.items() if texts}


def _conjuncts(name: str, atom: Callable[[str], str]) -> list[str]:
    """Returns what must hold all together, translated; alternatives stand in brackets."""
    for separator, operator in SEPARATORS:
        parts = [part.strip() for part in re.split(separator, name, flags=re.IGNORECASE)]
        if len(parts) == 1:
            continue
        if operator == "AND":
            return [inner for part in parts for inner in _conjuncts(part, atom)]
        alternatives = {_bracketed(_conjuncts(part, atom)) for part in parts}
        return [f"({' OR '.join(sorted(alternatives))})"]
    return [atom(name)]


def _bracketed(conjuncts: Sequence[str]) -> str:
    return conjuncts[0] if len(conjuncts) == 1 else f"({' AND '.join(conjuncts)})"


def _reference(name: str, body: str) -> str:
    """Names a license that SPDX does not know; the same name and text always give the same reference."""
    plain = re.sub(r"[^A-Za-z0-9.]+", "-", name).strip("-")[:REF_NAME_LENGTH].rstrip("-") or "unnamed"
    return f"LicenseRef-Debian-{plain}-{hashlib.sha256(body.encode()).hexdigest()[:REF_HASH_LENGTH]}"

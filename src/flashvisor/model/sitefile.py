"""Reading a site file: text in, `Site` or one error that lists every problem out. Pure.

Owns TOML and types. Cross-checks between tables stand in sitecheck/, and are offered here too::

    site = parse_site(text, "examples/site.toml")
    check_site(site, "examples/site.toml")
    schema = site_schema()
"""

from __future__ import annotations

import re
import tomllib
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from flashvisor.errors import SiteSyntaxError, UnknownKeyError, WrongTypeError
from flashvisor.model.problem import Problems, did_you_mean
from flashvisor.model.site import Site
from flashvisor.model.site.words import MULTILINE
from flashvisor.model.sitecheck import check_site as check_site

GOT_LIMIT = 60  # characters of a wrong value that a message shows
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")  # TOML 1.0: keys that need no quotes
PLACE = re.compile(r"line (\d+), column (\d+)")


def parse_site(text: str, source: str = "site.toml") -> Site:
    """Reads a site file's text.

    Args:
        text: TOML 1.0.
        source: The file's name, for messages.

    Raises:
        SiteSyntaxError: not TOML; with line and column.
        UnknownKeyError: a key is unknown.
        WrongTypeError: a value has the wrong type, is out of bounds or is missing.
            If there are several problems, the first decides the class and the others are its evidence.
    """
    raw = _toml(text, source)
    found = Problems(source)
    _table(raw, Site, "", found)
    found.raise_any()
    return msgspec.convert(raw, Site, strict=True)


def site_schema() -> dict[str, Any]:
    """Returns the JSON Schema (2020-12) of the site file."""
    schema = msgspec.json.schema(Site)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flashvisor site file",
        **schema,
    }


def _toml(text: str, source: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise SiteSyntaxError(f"{source}: {error}", evidence=_pointer(text, str(error))) from error
    except RecursionError as error:
        raise SiteSyntaxError(f"{source}: values are nested too deeply") from error


def _pointer(text: str, message: str) -> str:
    """The line in question with a mark under the column, or "" when the message names no place."""
    place = PLACE.search(message)
    lines = text.splitlines()
    if place is None or int(place[1]) > len(lines):
        return ""
    line = lines[int(place[1]) - 1]
    return f"{line}\n{' ' * (int(place[2]) - 1)}^"


def _walk(value: Any, hint: Any, path: str, found: Problems) -> None:  # noqa: ANN401 - TOML values and types
    """Checks a value against a type and notes every problem beneath it (msgspec itself stops at the first)."""
    origin = get_origin(hint)
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        _table(value, hint, path, found)
    elif origin is dict:
        _dict(value, get_args(hint), path, found)
    elif origin is tuple:
        _array(value, get_args(hint)[0], path, found)
    elif origin in (Union, UnionType):
        _walk(value, _arm(value, hint), path, found)
    else:
        _leaf(value, hint, path, found)


def _arm(value: Any, hint: Any) -> Any:  # noqa: ANN401
    """The member of a union that a value is meant for: the one of its kind, else the first.

    TOML has no null: `X | None` only says that the key may be left out.
    """
    arms = [arg for arg in get_args(hint) if arg is not NoneType]
    if isinstance(value, dict):
        return next((arm for arm in arms if isinstance(arm, type) and issubclass(arm, msgspec.Struct)), arms[0])
    kind = {list: tuple, int: int, str: str}.get(type(value))
    plain = (get_args(arm)[0] if get_origin(arm) is Annotated else get_origin(arm) or arm for arm in arms)
    return next((arm for arm, base in zip(arms, plain, strict=True) if base is kind), arms[0])


def _table(value: Any, struct: type[msgspec.Struct], path: str, found: Problems) -> None:  # noqa: ANN401
    if not isinstance(value, dict):
        found.add(WrongTypeError, f"{path}: expected a table, got {_show(value)}")
        return
    typed = get_type_hints(struct, include_extras=True)
    # By the name that the file has: a Python keyword cannot name a field.
    hints = {field.encode_name: typed[field.name] for field in msgspec.structs.fields(struct)}
    for key, item in value.items():
        if key in hints:
            _walk(item, hints[key], _join(path, key), found)
        else:
            step = did_you_mean(key, hints) or f"Known here: {', '.join(sorted(hints))}."
            found.add(UnknownKeyError, f"{_join(path, key)} is not a key", step=step)
    for field in msgspec.structs.fields(struct):
        if field.required and field.encode_name not in value:
            found.add(WrongTypeError, f"{_join(path, field.encode_name)} is missing: it must be given")


def _dict(value: Any, hints: tuple[Any, ...], path: str, found: Problems) -> None:  # noqa: ANN401
    if not isinstance(value, dict):
        found.add(WrongTypeError, f"{path}: expected tables of the form [{path}.NAME], got {_show(value)}")
        return
    for key, item in value.items():
        wrong = _wrong(key, hints[0])
        if wrong:
            found.add(WrongTypeError, f"{_join(path, key)}: the name must be {wrong}")
        _walk(item, hints[1], _join(path, key), found)


def _array(value: Any, hint: Any, path: str, found: Problems) -> None:  # noqa: ANN401
    if not isinstance(value, list):
        found.add(WrongTypeError, f"{path}: expected an array, got {_show(value)}")
        return
    for index, item in enumerate(value):
        _walk(item, hint, f"{path}[{index}]", found)


def _leaf(value: Any, hint: Any, path: str, found: Problems) -> None:  # noqa: ANN401
    wrong = _wrong(value, hint)
    if wrong:
        found.add(WrongTypeError, f"{path}: expected {wrong}, got {_show(value)}")


def _wrong(value: Any, hint: Any) -> str:  # noqa: ANN401
    """What was expected instead of a value, or "" when it fits.

    Text must be one printable line almost everywhere in a site file: names and addresses end up in units, XML and
    file names, and a pattern's `$` would let a line feed at the end pass.
    """
    if isinstance(value, str) and _is_multiline(hint):
        if not re.sub(r"[\n\t]", "", value).isprintable():
            return "printable text"
    elif isinstance(value, str) and not value.isprintable():
        return "one line of printable text"
    try:
        msgspec.convert(value, hint, strict=True)
    except msgspec.ValidationError as error:
        return _expected(hint) or str(error)
    return ""


def _is_multiline(hint: Any) -> bool:  # noqa: ANN401
    marks = get_args(hint)[1:] if get_origin(hint) is Annotated else ()
    return any(mark.extra and mark.extra.get(MULTILINE) for mark in marks)


def _expected(hint: Any) -> str:  # noqa: ANN401
    """The type in the words of its own description, for people who do not read regular expressions."""
    if get_origin(hint) is Annotated:
        described = [meta.description for meta in get_args(hint)[1:] if meta.description]
        return described[0] if described else _expected(get_args(hint)[0])
    if isinstance(hint, type) and issubclass(hint, Enum):
        return "one of " + ", ".join(f'"{member.value}"' for member in hint)
    return {str: "text in quotes", int: "a whole number", bool: "true or false", float: "a number"}.get(hint, "")


def _show(value: Any) -> str:  # noqa: ANN401
    """A value as TOML writes it, cut short."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, bool):
        return str(value).lower()
    text = msgspec.json.encode(value).decode() if isinstance(value, str | list) else str(value)
    return text if len(text) <= GOT_LIMIT else text[:GOT_LIMIT] + "…"


def _join(path: str, key: str) -> str:
    """A dotted path; keys that TOML would quote are quoted."""
    shown = key if BARE_KEY.fullmatch(key) else msgspec.json.encode(key).decode()
    return f"{path}.{shown}" if path else shown
